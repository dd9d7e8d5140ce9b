//! I/O calls that suspend the task: reading, writing, accepting, connecting, polling.
//!
//! A call first tries, without waiting and without a change to the descriptor's flags, and waits only
//! when it would block. [`Call`] is what all of them are made of.

mod accept;
mod call;
mod connect;
mod inherited;
mod listen;
mod message;
mod own;
mod poll;
mod read;
mod send_file;
mod transfer;
mod write;

pub use accept::accept;
pub use call::Call;
pub use connect::{connect, outcome_of_attempt};
pub use inherited::{MOST as MOST_INHERITED, PREDECESSOR, close_inherited, take_inherited};
pub use listen::{BACKLOG, ListenFlags, listen, listen_at, port, take_another, take_at};
pub use message::{receive_from, receive_message, send_message, send_to};
pub use own::{adopt, forget, opened, release};
pub use poll::poll;
pub use read::{read, read_exact, read_part, try_read};
pub use send_file::send_file;
pub use write::{try_write, write_all, write_gathered};
