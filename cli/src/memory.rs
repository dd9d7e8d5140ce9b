//! Memory that is read from outside: of a process that runs, of a core file, or of a test.

/// Somebody else's memory. Nothing in it can be trusted: neither to be there, nor to stay.
pub trait Memory {
    /// Fills the buffer with what is at an address. False, with anything in the buffer, unless all of it
    /// can be read.
    fn read(&self, address: u64, into: &mut [u8]) -> bool;

    /// The same for many places.
    fn read_many(&self, places: &mut [Place<'_>]) {
        for place in places {
            place.is_read = self.read(place.address, place.into);
        }
    }

    /// What is mapped, by address.
    fn maps(&self) -> &[Map];
}

/// A place for [`Memory::read_many`].
pub struct Place<'b> {
    pub address: u64,
    pub into: &'b mut [u8],
    pub is_read: bool,
}

/// A mapping.
#[derive(Clone, Debug, Default)]
pub struct Map {
    pub start: u64,
    pub end: u64,
    pub is_executable: bool,
    /// Where in the file it begins.
    pub offset: u64,
    /// The file, by what the kernel calls it in the namespace of who looks; empty for none.
    pub path: String,
    /// The file's number, 0 for none.
    pub inode: u64,
}

/// The mapping with an address.
pub fn map_of(maps: &[Map], address: u64) -> Option<&Map> {
    let after = maps.partition_point(|map| map.start <= address);
    maps.get(after.checked_sub(1)?).filter(|map| address < map.end)
}

/// Reads of fixed size.
pub trait Read: Memory {
    fn u64_at(&self, address: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes).then(|| u64::from_le_bytes(bytes))
    }

    fn bytes_at(&self, address: u64, count: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.read(address, &mut bytes).then_some(bytes)
    }
}

impl<M: Memory + ?Sized> Read for M {}

/// The number at an offset; 0 behind the end.
pub fn u64_in(bytes: &[u8], offset: u64) -> u64 {
    number(bytes, offset, 8)
}

pub fn u32_in(bytes: &[u8], offset: u64) -> u32 {
    number(bytes, offset, 4) as u32
}

pub fn u16_in(bytes: &[u8], offset: u64) -> u16 {
    number(bytes, offset, 2) as u16
}

pub fn u8_in(bytes: &[u8], offset: u64) -> u8 {
    number(bytes, offset, 1) as u8
}

fn number(bytes: &[u8], offset: u64, size: usize) -> u64 {
    let found = usize::try_from(offset)
        .ok()
        .and_then(|offset| bytes.get(offset..offset.checked_add(size)?));
    let mut number = [0; 8];
    if let Some(found) = found {
        number[..size].copy_from_slice(found);
    }
    u64::from_le_bytes(number)
}
