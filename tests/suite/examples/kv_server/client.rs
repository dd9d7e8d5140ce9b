//! A client of the server, which sends what it is told to, and reads answers of any form.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::running;

/// A command as clients send it.
pub fn command_of(words: &[&[u8]]) -> Vec<u8> {
    let mut command = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        command.extend(format!("${}\r\n", word.len()).into_bytes());
        command.extend(*word);
        command.extend(b"\r\n");
    }
    command
}

/// A command with spaces between its words.
pub fn command(text: &str) -> Vec<u8> {
    command_of(&text.split(' ').map(str::as_bytes).collect::<Vec<_>>())
}

pub struct Client {
    pub stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(port: u16) -> Client {
        let stream = running::connect(port);
        stream.set_nodelay(true).expect("set that nothing is delayed");
        Client { reader: BufReader::new(stream.try_clone().expect("the same stream")), stream }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("send to the server");
    }

    /// The server may have closed already.
    pub fn send_if_open(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// The bytes of the next answer.
    pub fn answer(&mut self) -> Vec<u8> {
        let mut answer = Vec::new();
        self.read_answer(&mut answer);
        answer
    }

    fn read_answer(&mut self, answer: &mut Vec<u8>) {
        let begin = answer.len();
        self.reader.read_until(b'\n', answer).expect("read from the server");
        let line = String::from_utf8_lossy(&answer[begin..]).into_owned();
        let text = line.strip_suffix("\r\n").unwrap_or_else(|| panic!("a line: {line:?}"));
        let length = |text: &str| text.parse().unwrap_or_else(|_| panic!("a length: {text:?}"));
        match text.split_at(1) {
            ("$", "-1") => {}
            ("$", bytes) => {
                let rest = answer.len();
                answer.resize(rest + length(bytes) + 2, 0);
                self.reader.read_exact(&mut answer[rest..]).expect("read from the server");
                assert!(answer.ends_with(b"\r\n"));
            }
            ("*", count) => (0..length(count)).for_each(|_| self.read_answer(answer)),
            ("+" | "-" | ":", _) => {}
            _ => panic!("an answer: {line:?}"),
        }
    }

    /// Sends a command, and returns the answer as text, with a space for the end of a line.
    pub fn asks(&mut self, words: &[&[u8]]) -> String {
        self.send(&command_of(words));
        let answer = self.answer();
        let text = String::from_utf8_lossy(&answer);
        text.strip_suffix("\r\n").expect("a line").replace("\r\n", " ")
    }

    /// [`Client::asks`] with spaces between the words.
    pub fn says(&mut self, text: &str) -> String {
        self.asks(&text.split(' ').map(str::as_bytes).collect::<Vec<_>>())
    }

    /// Sends a command whose answer is a value, and returns that.
    pub fn asks_for(&mut self, words: &[&[u8]]) -> Vec<u8> {
        self.send(&command_of(words));
        let answer = self.answer();
        let begin = 1 + answer.iter().position(|&byte| byte == b'\n').expect("a line");
        assert_eq!(answer[0], b'$');
        answer[begin..answer.len() - 2].to_vec()
    }

    /// Sends no more, and returns what comes until the server closes.
    pub fn rest(&mut self) -> Vec<u8> {
        let _ = self.stream.shutdown(Shutdown::Write);
        let mut rest = Vec::new();
        match self.reader.read_to_end(&mut rest) {
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            result => drop(result.expect("read from the server")),
        }
        rest
    }

    /// Whether the server has closed, or does now.
    pub fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        match self.reader.read(&mut byte) {
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
            Ok(count) => count == 0,
        }
    }
}
