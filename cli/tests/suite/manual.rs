//! The manual page has all that the arguments have.

use clap::CommandFactory;
use majjen_cli::arguments::Arguments;

use crate::support::{majjen, root};

crate::support::trials! {
    the_page_has_all_commands_and_options,
    there_are_completions,
}

fn the_page_has_all_commands_and_options() {
    let page = std::fs::read_to_string(root().join("packaging/majjen.1.in")).unwrap();
    let command = Arguments::command();
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        let name = command.get_name();
        assert!(page.contains(&format!("\n.B {name}\n")), "{name} is not in the synopsis");
        let section = page
            .split(&format!("\n.SS {name}\n"))
            .nth(1)
            .unwrap_or_else(|| panic!("no section {name}"));
        let section = section.split("\n.S").next().unwrap();
        for option in command.get_arguments().filter_map(|argument| argument.get_long()) {
            // stacks refers to bt.
            let is_there = section.contains(&format!("\\-\\-{option}")) || name == "stacks";
            assert!(is_there, "{name}: --{option} is not in the page");
        }
    }
}

fn there_are_completions() {
    for shell in ["bash", "zsh", "fish"] {
        let text = majjen(&["completions", shell]).succeeded();
        assert!(text.contains("stacks") && text.contains("interval"), "{shell}: {text}");
    }
}
