//! In which order the addresses of a name are tried.

use std::net::{Ipv4Addr, SocketAddr};

use crate::engine::sys::AddressList;

/// So many addresses of a name are tried.
pub const MOST: usize = 32;

/// Addresses, in the order in which they are tried.
pub struct Addresses {
    places: [SocketAddr; MOST],
    count: usize,
}

impl Addresses {
    /// Of a look-up, whose first family comes first. From then on the families take turns, as long as there are
    /// addresses of both: RFC 8305, section 4.
    pub fn of_list(list: &AddressList) -> Addresses {
        Addresses::interleaved(list.inet())
    }

    /// As [`of_list`](Self::of_list).
    pub fn interleaved(addresses: impl Iterator<Item = SocketAddr>) -> Addresses {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let mut found = [nowhere; MOST];
        let mut count = 0;
        for (place, address) in found.iter_mut().zip(addresses) {
            *place = address;
            count += 1;
        }
        let found = &found[..count];
        let is_first = |address: &&SocketAddr| address.is_ipv4() == found[0].is_ipv4();
        let mut first = found.iter().filter(is_first);
        let mut second = found.iter().filter(|address| !is_first(address));
        let mut places = [nowhere; MOST];
        let mut turn = false;
        for place in &mut places[..count] {
            let next = if turn { second.next().or_else(|| first.next()) } else { first.next() };
            turn = !turn;
            if let Some(address) = next.or_else(|| second.next()) {
                *place = *address;
            }
        }
        Addresses { places, count }
    }

    pub fn as_slice(&self) -> &[SocketAddr] {
        &self.places[..self.count]
    }
}

#[cfg(test)]
mod tests {
    use super::{Addresses, MOST};

    fn ordered(ports: &[i32]) -> Vec<i32> {
        let addresses = ports.iter().map(|&port| match port {
            ..0 => ([0, 0, 0, 0, 0, 0, 0, 1u16], -port as u16).into(),
            _ => ([127, 0, 0, 1u8], port as u16).into(),
        });
        let sign = |address: &std::net::SocketAddr| {
            i32::from(address.port()) * if address.is_ipv4() { 1 } else { -1 }
        };
        Addresses::interleaved(addresses).as_slice().iter().map(sign).collect()
    }

    #[test]
    fn families_take_turns_and_each_keeps_its_order() {
        assert_eq!(ordered(&[-1, -2, -3, 4, 5]), [-1, 4, -2, 5, -3]);
        assert_eq!(ordered(&[1, 2, 3, -4]), [1, -4, 2, 3]);
        assert_eq!(ordered(&[1, -2, -3, -4]), [1, -2, -3, -4]);
        assert_eq!(ordered(&[1, 2]), [1, 2]);
        assert_eq!(ordered(&[-1]), [-1]);
        assert_eq!(ordered(&[]), [0; 0]);
    }

    #[test]
    fn no_more_are_kept_than_there_is_room_for() {
        let many: Vec<i32> = (1..100).collect();
        assert_eq!(ordered(&many), many[..MOST]);
    }
}
