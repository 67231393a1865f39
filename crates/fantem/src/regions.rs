//! Languages and countries (§5).

use account::Language;
use serde_json::{Value, json};
use wire::Incoming;

use crate::failure::Failure;
use crate::fields::{Fields, Refusals};
use crate::routes::Answer;

/// Country, calling code, name in English, name in Chinese.
const COUNTRIES: &str = include_str!("../data/countries.csv");

/// A list on its only page.
fn page(rows: Vec<Value>) -> Answer {
    Answer::data(json!({ "currentPage": 1, "totalPage": 1, "totalRecord": rows.len(), "data": rows }))
}

pub(crate) fn languages() -> Answer {
    let language = |code: &str, name: &str| json!({ "languageCode": code, "name": name });
    page(vec![language("zh-CN", "简体中文"), language("en-US", "English")])
}

pub(crate) fn countries(incoming: &Incoming) -> Result<Answer, Failure> {
    let language = Language::of(Fields::form(incoming, Refusals::OLD)?.optional("languageCode", 16)?.as_deref());
    let row = |line: &str| {
        let mut columns = line.split(',').skip(1);
        let (calling_code, english, chinese) = (columns.next()?, columns.next()?, columns.next()?);
        let name = match language {
            Language::English => english,
            Language::Chinese => chinese,
        };
        Some(json!({ "name": name, "phoneCode": calling_code }))
    };
    Ok(page(COUNTRIES.lines().skip(1).filter_map(row).collect()))
}
