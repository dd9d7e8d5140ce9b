//! A TLS echo server, with rustls on majjen's sockets. Here a client of the same scheduler talks to
//! it, and trusts the certificate that was made for the occasion.
//!
//! ```sh
//! cargo run --release --example tls_echo
//! ```

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;

use majjen::net::{TcpListener, TcpStream};
use majjen::task;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

fn main() -> Result<(), Box<dyn Error>> {
    let (server_config, client_config) = configs()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    // Cryptography uses more stack than most.
    let scheduler = majjen::Builder::new().stack_size(512 * 1024).build()?;
    let server = scheduler.spawn(move || serve(&listener, &server_config));
    let client = scheduler.spawn(move || {
        let answer = ask(address, client_config, b"hello over TLS");
        server.cancel();
        answer
    });
    scheduler.run()?;
    println!("{}", String::from_utf8(client.join()??)?);
    Ok(())
}

/// A server with a new certificate for `localhost`, and a client that trusts it.
pub fn configs() -> Result<(Arc<ServerConfig>, Arc<ClientConfig>), Box<dyn Error>> {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let certificate = certified.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], PrivateKeyDer::Pkcs8(key))?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok((Arc::new(server), Arc::new(client)))
}

/// Serves clients until the task is canceled.
pub fn serve(listener: &TcpListener, config: &Arc<ServerConfig>) -> io::Result<()> {
    for stream in listener.incoming() {
        let (stream, config) = (stream?, config.clone());
        task::spawn(move || {
            if let Err(error) = echo(stream, config) {
                eprintln!("client: {error}");
            }
        });
    }
    Ok(())
}

/// Sends back what the client sends, until it has no more.
fn echo(stream: TcpStream, config: Arc<ServerConfig>) -> io::Result<()> {
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut tls = rustls::StreamOwned::new(connection, stream);
    let mut buffer = [0; 4096];
    loop {
        let length = tls.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        tls.write_all(&buffer[..length])?;
        tls.flush()?;
    }
    tls.conn.send_close_notify();
    tls.conn.complete_io(&mut tls.sock)?;
    tls.sock.shutdown(Shutdown::Write)
}

/// Sends data to a server, and returns what it sends back.
pub fn ask(address: SocketAddr, config: Arc<ClientConfig>, data: &[u8]) -> io::Result<Vec<u8>> {
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    let connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
    let mut tls = rustls::StreamOwned::new(connection, TcpStream::connect(address)?);
    tls.write_all(data)?;
    tls.flush()?;
    let mut answer = vec![0; data.len()];
    tls.read_exact(&mut answer)?;
    tls.conn.send_close_notify();
    tls.conn.complete_io(&mut tls.sock)?;
    tls.read_to_end(&mut answer)?; // Until the server has ended it, too.
    Ok(answer)
}
