//! Open files.

use std::fmt;
use std::fs::{Metadata, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use super::on_worker;
use crate::engine::files;
use crate::engine::pool::{Class, run_within};
use crate::engine::sys::iovec;
use crate::safe::io::Suspending;
use crate::safe::time::limit;
use crate::safe::unwind::suspending;

/// An open file, whose calls suspend the task. It reads and writes at its own place, also by shared reference,
/// and at any other. What a thread has begun for a call ends before the call does, though the task is canceled
/// meanwhile.
///
/// ```
/// use majjen::{Scheduler, fs::File};
/// use std::io::{Read, Write};
///
/// let path = std::env::temp_dir().join(format!("majjen-doc-file-{}", std::process::id()));
/// let scheduler = Scheduler::new()?;
/// let text = scheduler.spawn(move || {
///     File::create(&path)?.write_all(b"hello, world")?;
///     let mut text = String::new();
///     let mut file = File::open(&path)?;
///     file.read_to_string(&mut text)?;
///     let mut word = [0; 5];
///     file.read_at(&mut word, 7)?;
///     majjen::fs::remove_file(&path)?;
///     Ok::<_, std::io::Error>((text, word))
/// });
/// scheduler.run()?;
/// assert_eq!(text.join()??, ("hello, world".to_owned(), *b"world"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It is closed by the thread, which takes no time for most files. A [`std::fs::File`] can be made of it, and the other
/// way round.
pub struct File(Suspending<std::fs::File>);

impl File {
    /// Opens a file for reading.
    ///
    /// ```
    /// use majjen::{Scheduler, fs::File};
    ///
    /// let scheduler = Scheduler::new()?;
    /// let opened = scheduler.spawn(|| File::open("no-such-file").map(drop));
    /// scheduler.run()?;
    /// assert_eq!(opened.join()?.unwrap_err().kind(), std::io::ErrorKind::NotFound);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn open(path: impl AsRef<Path>) -> io::Result<File> {
        File::open_with(OpenOptions::new().read(true), path)
    }

    /// Opens a file for writing, which is created, or emptied first.
    ///
    /// ```
    /// use majjen::{Scheduler, fs::File};
    ///
    /// let scheduler = Scheduler::new()?;
    /// let created = scheduler.spawn(|| File::create("no-such-directory/file").map(drop));
    /// scheduler.run()?;
    /// assert_eq!(created.join()?.unwrap_err().kind(), std::io::ErrorKind::NotFound);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn create(path: impl AsRef<Path>) -> io::Result<File> {
        File::open_with(OpenOptions::new().write(true).create(true).truncate(true), path)
    }

    /// Opens a file as the options say.
    ///
    /// ```
    /// use majjen::{Scheduler, fs::File};
    /// use std::fs::OpenOptions;
    ///
    /// let scheduler = Scheduler::new()?;
    /// let file = scheduler.spawn(|| File::open_with(OpenOptions::new().read(true), "Cargo.toml"));
    /// scheduler.run()?;
    /// assert!(file.join()?.is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn open_with(options: &OpenOptions, path: impl AsRef<Path>) -> io::Result<File> {
        let (options, path) = (options.clone(), path.as_ref().to_owned());
        on_worker(move || options.open(path)).map(File::from)
    }

    /// Reads from a place until the buffer is full, or the file ends, and returns how many bytes.
    ///
    /// ```
    /// use majjen::{Scheduler, fs::File};
    ///
    /// let scheduler = Scheduler::new()?;
    /// let read = scheduler.spawn(|| File::open("Cargo.toml")?.read_at(&mut [0; 10], 1));
    /// scheduler.run()?;
    /// assert_eq!(read.join()??, 10);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let buffer = iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        let place = place_of(offset)?;
        let mut done = 0;
        suspending(|| {
            // SAFETY: the buffer is borrowed to be written, until the call has returned.
            unsafe { files::read_at(self.as_raw_fd(), buffer, place, limit(None), &mut done) }
        })?;
        Ok(done)
    }

    /// Writes all of the data to a place.
    ///
    /// ```
    /// use majjen::{Scheduler, fs::{self, File}};
    ///
    /// let path = std::env::temp_dir().join(format!("majjen-doc-at-{}", std::process::id()));
    /// let scheduler = Scheduler::new()?;
    /// let read = scheduler.spawn(move || {
    ///     File::create(&path)?.write_at(b"hello", 2)?;
    ///     let read = fs::read(&path)?;
    ///     fs::remove_file(&path).map(|()| read)
    /// });
    /// scheduler.run()?;
    /// assert_eq!(read.join()??, b"\0\0hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call. A part may have been written then.
    pub fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let buffer = iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
        let place = place_of(offset)?;
        suspending(|| {
            // SAFETY: the data is borrowed until the call has returned.
            unsafe { files::write_at(self.as_raw_fd(), buffer, place, limit(None), &mut 0) }
        })?;
        Ok(())
    }

    /// Waits until what was written is on the disk.
    ///
    /// ```
    /// use majjen::{Scheduler, fs::File};
    ///
    /// let scheduler = Scheduler::new()?;
    /// let synced = scheduler.spawn(|| File::open("Cargo.toml")?.sync_all());
    /// scheduler.run()?;
    /// assert!(synced.join()?.is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn sync_all(&self) -> io::Result<()> {
        self.on_worker(std::fs::File::sync_all)
    }

    /// What the system knows of the file.
    ///
    /// ```
    /// use majjen::{Scheduler, fs::File};
    ///
    /// let scheduler = Scheduler::new()?;
    /// let metadata = scheduler.spawn(|| File::open("Cargo.toml")?.metadata());
    /// scheduler.run()?;
    /// assert!(metadata.join()??.len() > 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.on_worker(std::fs::File::metadata)
    }

    /// Cuts the file off, or makes it longer by zeros.
    ///
    /// ```
    /// use majjen::{Scheduler, fs::File};
    ///
    /// let scheduler = Scheduler::new()?;
    /// let cut = scheduler.spawn(|| File::open("Cargo.toml")?.set_len(1));
    /// scheduler.run()?;
    /// assert!(cut.join()?.is_err()); // It was opened for reading.
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of the system call.
    pub fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.on_worker(|file| file.set_len(bytes))
    }

    /// Has a thread of the pool do something to the file. It is borrowed, so the call ends when that has
    /// ended, and nobody can have closed it, or have got its number for another file.
    fn on_worker<T: Send>(&self, act: impl Fn(&std::fs::File) -> io::Result<T>) -> io::Result<T> {
        suspending(|| run_within(Class::File, limit(None), || act(self.0.get_ref())))?
    }

    /// The file of the standard library.
    ///
    /// ```
    /// use majjen::{Scheduler, fs::File};
    ///
    /// let scheduler = Scheduler::new()?;
    /// let file = scheduler.spawn(|| File::open("Cargo.toml"));
    /// scheduler.run()?;
    /// let file: std::fs::File = file.join()??.into_std();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_std(self) -> std::fs::File {
        self.0.into_inner()
    }
}

fn place_of(offset: u64) -> io::Result<i64> {
    i64::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}

impl From<std::fs::File> for File {
    fn from(file: std::fs::File) -> File {
        File(Suspending::new(file))
    }
}

impl From<File> for std::fs::File {
    fn from(file: File) -> std::fs::File {
        file.into_std()
    }
}

impl From<File> for OwnedFd {
    fn from(file: File) -> OwnedFd {
        file.into_std().into()
    }
}

macro_rules! file_io {
    ($kind:ty) => {
        impl Read for $kind {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                (&self.0).read(buffer)
            }

            fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                (&self.0).read_vectored(buffers)
            }
        }

        impl Write for $kind {
            fn write(&mut self, data: &[u8]) -> io::Result<usize> {
                (&self.0).write(data)
            }

            fn write_vectored(&mut self, data: &[IoSlice<'_>]) -> io::Result<usize> {
                (&self.0).write_vectored(data)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        /// Does not suspend: it takes no time.
        impl Seek for $kind {
            fn seek(&mut self, place: SeekFrom) -> io::Result<u64> {
                self.0.get_ref().seek(place)
            }
        }
    };
}

file_io!(File);
file_io!(&File);

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for File {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl fmt::Debug for File {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.get_ref().fmt(out)
    }
}
