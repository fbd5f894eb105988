//! What was measured, as a table: aligned for people, or in Markdown for the documentation.

use crate::contenders::Contender;
use crate::loads::{Figure, Load};

/// All figures of a run.
pub struct Results {
    contenders: Vec<Contender>,
    instructions: bool,
    rows: Vec<Row>,
}

struct Row {
    load: Load,
    figure: &'static str,
    /// By contender, then by round.
    values: Vec<Vec<(usize, f64)>>,
    failed: Vec<bool>,
}

/// Not a figure: the row that says who failed.
const FAILED: &str = "";

impl Results {
    #[must_use]
    pub fn new(contenders: &[Contender], instructions: bool) -> Self {
        Self { contenders: contenders.to_vec(), instructions, rows: Vec::new() }
    }

    fn row(&mut self, load: Load, figure: &'static str) -> &mut Row {
        let n = self.contenders.len();
        let at = self.rows.iter().position(|r| r.load == load && r.figure == figure).unwrap_or_else(|| {
            let row = Row { load, figure, values: vec![Vec::new(); n], failed: vec![false; n] };
            self.rows.push(row);
            self.rows.len() - 1
        });
        &mut self.rows[at]
    }

    fn index(&self, contender: Contender) -> usize {
        self.contenders.iter().position(|c| *c == contender).unwrap_or_default()
    }

    /// Takes the figures of one measurement.
    pub fn take(&mut self, load: Load, contender: Contender, round: usize, figures: &[Figure]) {
        let of = self.index(contender);
        for f in figures {
            self.row(load, f.name).values[of].push((round, f.value));
        }
    }

    /// Notes that a measurement failed.
    pub fn fail(&mut self, load: Load, contender: Contender) {
        let of = self.index(contender);
        self.row(load, FAILED).failed[of] = true;
    }

    fn lines(&self) -> Vec<Vec<String>> {
        let head = ["load", "figure"].into_iter().map(str::to_owned);
        let mut lines = vec![head.chain(self.contenders.iter().map(|c| c.name().to_owned())).collect::<Vec<_>>()];
        let base = self.contenders.iter().position(|c| *c == Contender::Splice);
        for row in &self.rows {
            if row.figure == FAILED {
                let cells = row.failed.iter().map(|failed| if *failed { "failed".to_owned() } else { String::new() });
                lines.push([row.load.name(), "errors".to_owned()].into_iter().chain(cells).collect());
                continue;
            }
            let cells = (0..row.values.len()).map(|of| row.cell(of, base));
            lines.push([row.load.name(), row.figure.to_owned()].into_iter().chain(cells).collect());
        }
        lines
    }
}

impl Row {
    /// The median, and the median of the rounds' ratios to `base`.
    fn cell(&self, of: usize, base: Option<usize>) -> String {
        let mut values: Vec<f64> = self.values[of].iter().map(|(_, v)| *v).collect();
        let Some(value) = median(&mut values) else { return "–".to_owned() };
        let text = if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") };
        let Some(base) = base.filter(|b| *b != of) else { return text };
        let ratio = |(round, v): &(usize, f64)| {
            let (_, floor) = self.values[base].iter().find(|(r, _)| r == round)?;
            (*floor > 0.0).then(|| v / floor)
        };
        let mut ratios: Vec<f64> = self.values[of].iter().filter_map(ratio).collect();
        median(&mut ratios).map_or(text.clone(), |r| format!("{text} ({r:.2})"))
    }
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    match n {
        0 => None,
        _ if n % 2 == 1 => Some(values[n / 2]),
        _ => Some(f64::midpoint(values[n / 2 - 1], values[n / 2])),
    }
}

/// Prints who was compared, and the table.
pub fn print(results: &Results, markdown: bool) {
    for c in &results.contenders {
        println!("- {}: {}", c.name(), c.what());
    }
    if !results.instructions {
        println!("- instructions: n/a, this machine does not count them");
    }
    println!("- resident memory is the process's; what the kernel holds for sockets and pipes is apart");
    println!();
    let lines = results.lines();
    let width = |column: usize| lines.iter().filter_map(|l| l.get(column)).map(|c| c.chars().count()).max();
    let widths: Vec<usize> = (0..results.contenders.len() + 2).map(|c| width(c).unwrap_or_default()).collect();
    for (n, line) in lines.iter().enumerate() {
        let cells: Vec<String> = line
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, &width))| match column {
                0 | 1 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            })
            .collect();
        if markdown {
            println!("| {} |", cells.join(" | "));
            if n == 0 {
                let rule: Vec<&str> = (0..cells.len()).map(|c| if c < 2 { "---" } else { "--:" }).collect();
                println!("|{}|", rule.join("|"));
            }
        } else {
            println!("{}", cells.join("  "));
        }
    }
}
