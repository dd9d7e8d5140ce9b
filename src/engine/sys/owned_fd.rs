//! A descriptor that is closed when it is dropped: as the standard library's, but close(2) is no cancellation point.

use std::fs::File;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{self, AsRawFd, FromRawFd, IntoRawFd, RawFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

use super::descriptor::close;

#[derive(Debug)]
pub struct OwnedFd(RawFd);

impl Drop for OwnedFd {
    fn drop(&mut self) {
        close(self.0);
    }
}

impl FromRawFd for OwnedFd {
    unsafe fn from_raw_fd(fd: RawFd) -> OwnedFd {
        OwnedFd(fd)
    }
}

impl IntoRawFd for OwnedFd {
    fn into_raw_fd(self) -> RawFd {
        std::mem::ManuallyDrop::new(self).0
    }
}

impl AsRawFd for OwnedFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

macro_rules! into_std {
    ($($of_std:ty),*) => {
        $(impl From<OwnedFd> for $of_std {
            fn from(owned: OwnedFd) -> $of_std {
                // SAFETY: open, and nobody else's from here on.
                unsafe { <$of_std>::from_raw_fd(owned.into_raw_fd()) }
            }
        })*
    };
}

into_std!(File, TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream);
into_std!(fd::OwnedFd);
