//! The matrix of ops by faults: which cells the programs reached.

use std::collections::BTreeMap;

use runtime::simulated::{Fault, MatrixCell};

/// Cells, added up.
#[derive(Debug, Default)]
pub struct Matrix {
    ops: Vec<&'static str>,
    cells: BTreeMap<(&'static str, Fault), MatrixCell>,
}

impl Matrix {
    pub fn add(&mut self, cells: &[MatrixCell]) {
        for cell in cells {
            if !self.ops.contains(&cell.op) {
                self.ops.push(cell.op);
            }
            self.cells.entry((cell.op, cell.fault)).and_modify(|sum| sum.count += cell.count).or_insert(*cell);
        }
    }

    pub fn merge(&mut self, other: &Matrix) {
        let cells: Vec<MatrixCell> =
            other.ops.iter().flat_map(|op| Fault::ALL.map(|fault| other.cells[&(*op, fault)])).collect();
        self.add(&cells);
    }

    /// Prints a line for each op and a column for each fault, and below it why some cells cannot be.
    pub fn print(&self) {
        print!("{:14}", "");
        for fault in Fault::ALL {
            print!("{:>16}", format!("{fault:?}"));
        }
        println!();
        let mut reasons: BTreeMap<(Fault, &str), Vec<&str>> = BTreeMap::new();
        for op in &self.ops {
            print!("{op:14}");
            for fault in Fault::ALL {
                let cell = self.cells[&(*op, fault)];
                match cell.impossible {
                    None => print!("{:>16}", cell.count),
                    Some(reason) => {
                        print!("{:>16}", "-");
                        reasons.entry((fault, reason)).or_default().push(op);
                    }
                }
            }
            println!();
        }
        for ((fault, reason), ops) in reasons {
            println!("  no {fault:?} for {}: {reason}", ops.join("; "));
        }
    }

    /// The cells that can be, and were not reached.
    pub fn missed(&self) -> Vec<String> {
        let missed = self.cells.values().filter(|cell| cell.impossible.is_none() && cell.count == 0);
        missed.map(|cell| format!("{}/{:?}", cell.op, cell.fault)).collect()
    }
}
