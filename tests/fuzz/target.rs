//! Every target of cargo-fuzz is this file under another name.
#![no_main]

mod decoders;
mod edge;
mod line;
mod otlp;
mod remote;
mod store;
mod texts;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(target) = decoders::TARGETS
        .iter()
        .find(|target| target.name == env!("CARGO_BIN_NAME"))
    {
        (target.read)(bytes);
    }
});
