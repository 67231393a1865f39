//! The operator's API. A [`Command`] is declared once: that declaration is the grammar of the command line, its help, and what
//! travels over the socket to a running server. [`Operator::execute`] carries it out, in the server or beside the store.

mod change;
mod command;
mod execute;
mod file;
mod rows;
mod socket;
mod view;

pub use crate::command::{AccountCommand, Command, Format, ImportFile, RegionCommand, Secret, Wanted};
pub use crate::execute::{AdminError, ClaimedPage, KeyFiles, Operator, StoreOpener};
pub use crate::file::{Numbered, Rows};
pub use crate::rows::{Batch, BatchOutcome, Row};
pub use crate::socket::{EXECUTE_PATH, Outcome, UnderWay, router};
