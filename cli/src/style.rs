//! The terminal: how wide it is, and whether it shows colours.

use std::io::IsTerminal;

/// How output looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Style {
    /// Lines are cut behind so many characters.
    pub width: Option<usize>,
    pub colors: bool,
}

#[derive(Clone, Copy)]
pub enum Color {
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Blue,
}

impl Style {
    /// For what stdout is: a file or a pipe gets whole lines and no colours.
    pub fn of_stdout() -> Style {
        let is_terminal = std::io::stdout().is_terminal();
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Style {
            width: if is_terminal { terminal_width() } else { None },
            colors: is_terminal && !no_color && !is_dumb,
        }
    }

    pub fn paint(self, color: Color, text: &str) -> String {
        if !self.colors {
            return text.to_owned();
        }
        let code = match color {
            Color::Bold => "1",
            Color::Dim => "2",
            Color::Red => "31",
            Color::Green => "32",
            Color::Yellow => "33",
            Color::Blue => "36",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// The text, cut to so many characters.
    pub fn cut(self, text: &str, used: usize) -> String {
        match self.width {
            Some(width) => cut(text, width.saturating_sub(used).max(10)),
            None => text.to_owned(),
        }
    }
}

/// The text in so many characters, the last of which says if there was more.
pub fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(most.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

fn terminal_width() -> Option<usize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the address is good.
    let result = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &mut size) };
    (result == 0 && size.ws_col > 0).then_some(usize::from(size.ws_col))
}
