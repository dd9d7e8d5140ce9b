//! The `log` crate's facade, both ways.

use ::log::{Log, Metadata, Record, SetLoggerError};

use super::{Level, enabled, set_callback};
use crate::engine::sys::Result;

/// Lets what is logged with the `log` crate's macros go to this logger, in a line with its target
/// before it. Which levels are written is this logger's to say.
///
/// ```
/// majjen::logger::install().unwrap();
/// log::info!("started"); // [INFO] rust_out: started
/// ```
///
/// # Errors
/// When the crate has a logger already.
pub fn install() -> std::result::Result<(), SetLoggerError> {
    static FACADE: Facade = Facade;
    ::log::set_logger(&FACADE)?;
    ::log::set_max_level(::log::LevelFilter::Trace);
    Ok(())
}

/// Lets this logger's lines go to the `log` crate's logger, with the target `majjen`. Of those that
/// this one writes, that one writes what its own level lets through.
///
/// ```
/// # struct Other;
/// # impl log::Log for Other {
/// #     fn enabled(&self, _: &log::Metadata<'_>) -> bool { true }
/// #     fn log(&self, record: &log::Record<'_>) { assert_eq!(record.target(), "majjen") }
/// #     fn flush(&self) {}
/// # }
/// # log::set_boxed_logger(Box::new(Other)).unwrap();
/// # log::set_max_level(log::LevelFilter::Info);
/// majjen::logger::forward()?; // To what the program has set up before, such as env_logger.
/// # majjen::logger::log(majjen::logger::Level::Info, format_args!("x"));
/// # Ok::<(), majjen::Error>(())
/// ```
///
/// # Errors
/// As [`set_callback`].
pub fn forward() -> Result<()> {
    set_callback(|level, text| {
        let level = match level {
            Level::Trace => ::log::Level::Trace,
            Level::Debug => ::log::Level::Debug,
            Level::Info => ::log::Level::Info,
            Level::Warn => ::log::Level::Warn,
            Level::Error | Level::Fatal | Level::Silent => ::log::Level::Error,
        };
        ::log::log!(target: "majjen", level, "{text}");
    })
}

/// The receiver of the `log` crate's lines.
struct Facade;

fn level_of(metadata: &Metadata<'_>) -> Level {
    match metadata.level() {
        ::log::Level::Trace => Level::Trace,
        ::log::Level::Debug => Level::Debug,
        ::log::Level::Info => Level::Info,
        ::log::Level::Warn => Level::Warn,
        ::log::Level::Error => Level::Error,
    }
}

impl Log for Facade {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        enabled(level_of(metadata))
    }

    fn log(&self, record: &Record<'_>) {
        let line = format_args!("{}: {}", record.target(), record.args());
        super::log(level_of(record.metadata()), line);
    }

    fn flush(&self) {}
}
