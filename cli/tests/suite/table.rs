//! The table that the reader knows is the one that the library has.

use majjen_cli::table::{FIELDS, VERSION};

use crate::support::root;

crate::support::trials! {
    its_fields_are_those_of_the_library_and_of_the_commands_for_gdb,
}

fn its_fields_are_those_of_the_library_and_of_the_commands_for_gdb() {
    let source = std::fs::read_to_string(root().join("src/engine/inspect/debugger.rs")).unwrap();
    let block = source.split("\nnote! {").nth(1).and_then(|rest| rest.split("\n}").next()).unwrap();
    assert!(block.contains(&format!("version \"{VERSION}\";")), "{block}");
    let fields =
        block.lines().filter_map(|line| line.trim().split_once(" = ")).map(|(name, _)| name);
    let fields: Vec<&str> = std::iter::once("living_head").chain(fields).collect();
    assert_eq!(fields, FIELDS[..fields.len()]);

    let script = std::fs::read_to_string(root().join("tools/majjen-gdb.py")).unwrap();
    assert!(script.contains(&format!("\nVERSION = {VERSION}\n")));
    let block =
        script.split("\nFIELDS = (").nth(1).and_then(|rest| rest.split(')').next()).unwrap();
    let words = block.split(['"', ' ', '\n']).filter(|word| !word.is_empty());
    let known: Vec<&str> = words.collect();
    assert_eq!(known, FIELDS[..known.len()]);
}
