//! Models of the memory of posts for loom, which tries all executions that the memory model allows: `make
//! loom`.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::thread;

use super::SpareBlocks;

/// Blocks, of which each may have one user at a time: loom reports a race for one.
struct World {
    spare: SpareBlocks,
    blocks: [UnsafeCell<u32>; 2],
}

// SAFETY: loom checks the accesses.
unsafe impl Sync for World {}
// SAFETY: as above.
unsafe impl Send for World {}

impl World {
    fn new() -> Arc<World> {
        Arc::new(World {
            spare: SpareBlocks::new(),
            blocks: [UnsafeCell::new(0), UnsafeCell::new(0)],
        })
    }

    /// The address of a block stands for its index.
    fn give(&self, number: usize, index: usize) -> bool {
        self.write(index);
        let block = std::ptr::without_provenance_mut::<c_void>(index + 1);
        self.spare.give(number, NonNull::new(block).expect("it is not null"))
    }

    fn take(&self, number: usize) -> Option<usize> {
        let index = self.spare.take(number)?.as_ptr().addr() - 1;
        self.write(index);
        Some(index)
    }

    fn write(&self, index: usize) {
        // SAFETY: loom checks that nobody else does.
        self.blocks[index].with_mut(|block| unsafe { *block += 1 });
    }
}

#[test]
fn a_block_has_one_user_at_a_time() {
    loom::model(|| {
        let world = World::new();
        let takers = [0, 0].map(|number| {
            let world = world.clone();
            thread::spawn(move || world.take(number))
        });
        let given = world.give(0, 0);
        let again = world.give(0, 1);
        let mut taken: Vec<usize> =
            takers.into_iter().filter_map(|taker| taker.join().expect("it ends")).collect();
        taken.extend(world.spare.drain().map(|block| block.as_ptr().addr() - 1));
        taken.sort_unstable();
        assert!(given, "the place was empty");
        assert_eq!(taken, if again { vec![0, 1] } else { vec![0] });
    });
}
