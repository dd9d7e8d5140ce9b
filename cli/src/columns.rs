//! Which columns of a table a narrow screen has room for.

use ratatui::layout::Constraint;

/// Which columns have a place in a width: of those that are given, one after the other is left out.
pub fn fitting<const N: usize>(
    widths: [usize; N],
    left_out: impl IntoIterator<Item = usize>,
    width: u16,
) -> [bool; N] {
    let mut shown = [true; N];
    let needed = |shown: [bool; N]| {
        let columns = widths.iter().zip(shown).filter(|(_, is_shown)| *is_shown);
        columns.map(|(width, _)| width + 1).sum::<usize>()
    };
    for column in left_out {
        if needed(shown) <= usize::from(width) + 1 {
            break;
        }
        shown[column] = false;
    }
    shown
}

/// The widths of those that are shown.
pub fn lengths<const N: usize>(widths: [usize; N], shown: [bool; N]) -> Vec<Constraint> {
    let columns = widths.iter().zip(shown).filter(|(_, is_shown)| *is_shown);
    columns.map(|(width, _)| Constraint::Length(*width as u16)).collect()
}

#[cfg(test)]
mod tests {
    use super::fitting;

    #[test]
    fn columns_are_left_out_in_their_order_until_the_others_fit() {
        let shown = |width| fitting([7, 5, 3], [1, 2], width);
        assert_eq!(shown(17), [true, true, true]);
        assert_eq!(shown(16), [true, false, true]);
        assert_eq!(shown(11), [true, false, true]);
        assert_eq!(shown(10), [true, false, false]);
        assert_eq!(shown(1), [true, false, false]);
    }
}
