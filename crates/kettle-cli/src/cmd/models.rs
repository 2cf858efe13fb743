//! `kettle models`: what the I/O models are, and whether this machine runs them.

use crate::args::ModelsArgs;
use crate::failure::Failure;
use kettle::{Model, Probe};
use serde::Serialize;
use std::fmt;
use std::io::Write;
use std::process::ExitCode;

/// A model as it is listed.
#[derive(Debug, Serialize)]
struct Listed {
    name: &'static str,
    /// The article's word for it.
    term: &'static str,
    /// How it waits.
    waits: &'static str,
    /// What limits its connections.
    limit: &'static str,
    /// Most connections of one loop or thread, where the model itself sets a limit.
    connections_max: Option<usize>,
    thread_per_connection: bool,
    /// Whether it keeps its core busy while nothing happens.
    spins: bool,
    runs_here: bool,
    /// Why it does not.
    refused: Option<String>,
    /// What it uses where the kernel has it.
    features: Vec<ListedFeature>,
}

/// Something that a model can do without.
#[derive(Debug, Serialize)]
struct ListedFeature {
    name: &'static str,
    found: bool,
}

/// Lists the models.
pub fn run(args: &ModelsArgs, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let listed = Model::ALL.map(listed);
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &listed)?;
        writeln!(out)?;
        return Ok(ExitCode::SUCCESS);
    }
    match args.verbose {
        true => listed
            .iter()
            .try_for_each(|model| writeln!(out, "{model}"))?,
        false => write_rows(&listed, out)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn listed(model: Model) -> Listed {
    let traits = model.traits();
    let (features, refused) = match model.probe() {
        Probe::Runs(features) => (features, None),
        Probe::Refused(reason) => (Vec::new(), Some(reason)),
    };
    let features = features.into_iter().map(|feature| ListedFeature {
        name: feature.name,
        found: feature.found,
    });
    Listed {
        name: model.name(),
        term: traits.term,
        waits: traits.summary,
        limit: traits.limit,
        connections_max: traits.driver_connections_max,
        thread_per_connection: traits.thread_per_connection,
        spins: traits.spins,
        runs_here: refused.is_none(),
        refused,
        features: features.collect(),
    }
}

/// One row for each. Sentences are set to the left, unlike the figures of a [`crate::table::Table`].
fn write_rows(models: &[Listed], out: &mut dyn Write) -> std::io::Result<()> {
    let heading = ["model", "article", "how it waits", "limit", "runs here"];
    let rows: Vec<[String; 5]> = models.iter().map(Listed::row).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([heading[column].len()]).max().unwrap_or(0)
    };
    let widths: [usize; 5] = std::array::from_fn(width);
    for row in [heading.map(str::to_owned)].iter().chain(&rows) {
        let cells: Vec<_> = row
            .iter()
            .zip(widths)
            .map(|(cell, w)| format!("{cell:<w$}"))
            .collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

impl Listed {
    fn row(&self) -> [String; 5] {
        let limit = match (self.thread_per_connection, self.connections_max) {
            (true, _) => "threads".to_owned(),
            (false, Some(1)) => "1 connection".to_owned(),
            (false, Some(max)) => format!("{max} descriptors"),
            (false, None) => "descriptors".to_owned(),
        };
        let [name, term, waits] = [self.name, self.term, self.waits].map(str::to_owned);
        [name, term, waits, limit, self.runs()]
    }

    /// The names of the features that the kernel has, or of those that it has not.
    fn features(&self, found: bool) -> Option<String> {
        let features = self.features.iter().filter(|it| it.found == found);
        let names: Vec<_> = features.map(|it| it.name).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    fn runs(&self) -> String {
        match &self.refused {
            None => "yes".to_owned(),
            Some(reason) => format!("no: {reason}"),
        }
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.thread_per_connection {
            "thread"
        } else {
            "loop"
        };
        let connections = match self.connections_max {
            Some(max) => format!("at most {max} on each {place}"),
            None => format!("any number on each {place}"),
        };
        let idle = match self.spins {
            true => "keeps its core busy (--scan-nap lets it sleep)",
            false => "sleeps in the kernel",
        };
        writeln!(f, "{}  ({})", self.name, self.term)?;
        writeln!(f, "  how it waits   {}", self.waits)?;
        writeln!(f, "  connections    {connections}")?;
        writeln!(f, "  limit          {}", self.limit)?;
        writeln!(f, "  while idle     {idle}")?;
        writeln!(f, "  runs here      {}", self.runs())?;
        if let Some(found) = self.features(true) {
            writeln!(f, "  kernel has     {found}")?;
        }
        if let Some(missing) = self.features(false) {
            writeln!(f, "  kernel lacks   {missing}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_does_not_run_says_why() {
        let mut model = listed(Model::Epoll);
        assert_eq!(model.row()[4], "yes");
        model.refused = Some("not permitted".to_owned());
        assert_eq!(model.row()[4], "no: not permitted");
        assert!(model.to_string().contains("no: not permitted"));
    }
}
