//! CSV for spreadsheets: the byte order mark, and cells that are no formulas.

use std::io;

/// The byte order mark. Without it, spreadsheets assume a legacy encoding.
pub(super) const MARK: &str = "\u{feff}";

/// Writes a row with each cell neutralized.
pub(super) fn write_row<const N: usize>(
    writer: &mut csv::Writer<impl io::Write>,
    cells: [&str; N],
) -> csv::Result<()> {
    writer.write_record(cells.map(neutralize))
}

/// Prefixes a cell that looks like a formula with an apostrophe, so that spreadsheets treat it as text.
fn neutralize(cell: &str) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{cell}")
    } else {
        cell.to_owned()
    }
}
