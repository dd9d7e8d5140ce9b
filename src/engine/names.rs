//! Names of hosts and services: looking them up on the pool, and connecting to and listening at what
//! they stand for.

mod dial;
mod listen;
mod lookup;
mod order;
mod race;

pub use dial::dial;
pub use listen::listen;
pub use lookup::{find_addresses, find_name};
pub use order::Addresses;
pub use race::race;
