//! How far something is that takes long, for a person at a terminal.

use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressStyle};

/// A bar that is full at `size`; nobody sees it when standard error is no terminal.
pub(crate) fn bar(size: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {percent}% {msg} ({eta} left)").expect("a sound template");
    ProgressBar::new(size).with_style(style)
}
