//! Another Rust library, with the standard library in it too.

#[unsafe(no_mangle)]
pub extern "C" fn other_answer() -> i32 {
    let numbers: std::collections::HashMap<i32, String> =
        (0..41).map(|number| (number, format!("{number}"))).collect();
    let thread = std::thread::spawn(move || {
        let caught = std::panic::catch_unwind(|| std::panic::resume_unwind(Box::new(())));
        numbers.len() as i32 + i32::from(caught.is_err())
    });
    thread.join().unwrap_or(-1)
}
