//! The proxy's own log: events of `tracing`, to standard error.
//!
//! The lines go through a [`Writer`], so that a reader of standard error that has stopped costs
//! lines, not requests.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use super::writer::{CAPACITY, Flushed, Output, Target, Writer};

/// How the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Text on a terminal, else JSON.
    #[default]
    Auto,
    /// Text.
    Text,
    /// One JSON object per line.
    Json,
}

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level is no filter.
    #[error(
        "`{level}` is not a log level; write error, warn, info, debug, trace, or a filter such as \"info,tidegate::proxy=debug\""
    )]
    Level {
        /// What was written.
        level: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// Standard error or the thread of the log can not be had.
    #[error("the log can not be started")]
    Writer(#[from] io::Error),
    /// A log was set up before in this process.
    #[error("the log was started twice")]
    Twice(#[from] TryInitError),
    /// The log has been torn down.
    #[error("the level of the log can not be changed")]
    Reload(#[from] reload::Error),
}

/// The log of this process.
#[derive(Debug)]
pub struct Log {
    level: reload::Handle<EnvFilter, Registry>,
    writer: Arc<Writer>,
}

impl Log {
    /// Sets up the log of the process, to standard error. `level` is a level's name or a filter of
    /// `tracing`.
    ///
    /// # Errors
    ///
    /// When `level` is no filter, the thread can not be started or there is a log already.
    pub fn start(level: &str, format: Format) -> Result<Log, LogError> {
        let is_terminal = io::stderr().is_terminal();
        let style = Style::of(format, is_terminal);
        let (log, subscriber) = build(level, style, Output::open(Target::Stderr)?)?;
        subscriber.try_init()?;
        Ok(log)
    }

    /// Changes what is worth a line.
    ///
    /// # Errors
    ///
    /// When `level` is no filter; the old one stays.
    pub fn set_level(&self, level: &str) -> Result<(), LogError> {
        Ok(self.level.reload(parse(level)?)?)
    }

    /// Lines that were lost because nobody read standard error.
    pub fn dropped(&self) -> u64 {
        self.writer.dropped()
    }

    /// Waits until all lines so far are written, at most so long. Call it before the process ends.
    pub fn flush(&self, limit: Duration) -> Flushed {
        self.writer.flush(limit)
    }
}

/// How lines look, settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Json,
    Plain,
    Coloured,
}

impl Style {
    fn of(format: Format, is_terminal: bool) -> Style {
        // https://no-color.org: present and not empty.
        let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        match format {
            Format::Json => Style::Json,
            Format::Auto if !is_terminal => Style::Json,
            Format::Auto | Format::Text if is_terminal && !is_plain => Style::Coloured,
            Format::Auto | Format::Text => Style::Plain,
        }
    }
}

type Subscriber = Box<dyn tracing::Subscriber + Send + Sync>;

fn build(level: &str, style: Style, output: Output) -> Result<(Log, Subscriber), LogError> {
    let (filter, handle) = reload::Layer::new(parse(level)?);
    let writer = Arc::new(Writer::start(output, CAPACITY)?);
    let lines = Lines(writer.clone());
    let subscriber = Registry::default().with(filter);
    let layer = fmt::layer().with_writer(lines);
    let subscriber: Subscriber = match style {
        Style::Json => {
            Box::new(subscriber.with(layer.json().flatten_event(true).with_current_span(false).boxed()))
        }
        Style::Plain => Box::new(subscriber.with(layer.with_ansi(false).boxed())),
        Style::Coloured => Box::new(subscriber.with(layer.with_ansi(true).boxed())),
    };
    Ok((Log { level: handle, writer }, subscriber))
}

fn parse(level: &str) -> Result<EnvFilter, LogError> {
    let parsed = EnvFilter::builder().parse(level);
    let filter = parsed.map_err(|source| LogError::Level { level: level.to_owned(), source })?;
    // The library warns of what peers send, so a flood would fill the log. Who wants to see that
    // names it.
    match "h2=error".parse() {
        Ok(quiet) if !level.contains("h2") => Ok(filter.add_directive(quiet)),
        _ => Ok(filter),
    }
}

/// Makes a [`Line`] for each event.
#[derive(Debug)]
struct Lines(Arc<Writer>);

/// One event: the layer writes it in one piece.
#[derive(Debug)]
struct Line<'a>(&'a Writer);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(&self.0)
    }
}

impl io::Write for Line<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.submit(&mut text.to_vec(), 1);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(style: Style, events: impl FnOnce(&Log)) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let output = Output::open(Target::File(path.clone())).unwrap();
        let (log, subscriber) = build("info", style, output).unwrap();
        tracing::subscriber::with_default(subscriber, || events(&log));
        assert_eq!(log.flush(Duration::from_secs(20)), Flushed::Complete);
        std::fs::read_to_string(&path).unwrap()
    }

    #[test]
    fn a_json_line_has_the_fields_of_the_event_at_its_top() {
        let text = lines(Style::Json, |_| tracing::warn!(upstream = "api", generation = 3, "ejected"));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["message"], "ejected");
        assert_eq!(value["upstream"], "api");
        assert_eq!(value["generation"], 3);
        assert_eq!(value["level"], "WARN");
        assert!(value["timestamp"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn a_text_line_has_no_colours_and_is_one_line() {
        let text = lines(Style::Plain, |_| tracing::info!(path = "a\nb\u{1b}[31m", "changed"));
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(text.contains("changed"));
    }

    #[test]
    fn a_level_can_be_changed_and_a_wrong_one_changes_nothing() {
        let text = lines(Style::Plain, |log| {
            tracing::debug!("too early");
            log.set_level("debug").unwrap();
            tracing::debug!("now");
            let error = log.set_level("info,tidegate=loud").unwrap_err();
            assert!(error.to_string().starts_with("`info,tidegate=loud` is not a log level"), "{error}");
            tracing::debug!("still");
            log.set_level("off").unwrap();
            tracing::error!("too late");
        });
        assert!(!text.contains("too"), "{text}");
        assert!(text.contains("now") && text.contains("still"));
    }

    #[test]
    fn auto_is_text_on_a_terminal_and_json_elsewhere() {
        assert_eq!(Style::of(Format::Auto, false), Style::Json);
        assert_ne!(Style::of(Format::Auto, true), Style::Json);
        assert_eq!(Style::of(Format::Text, false), Style::Plain);
        assert_eq!(Style::of(Format::Json, true), Style::Json);
    }
}
