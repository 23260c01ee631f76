#![doc = include_str!("guide.md")]

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::retry::{Backoff, Jitter};

    const CLIENTS: u64 = 1000;
    /// The time span of a column.
    const COLUMN: Duration = Duration::from_millis(125);
    const COLUMNS: usize = 60;
    /// The shade of a column, by its least number of clients.
    const SHADES: [(usize, char); 6] =
        [(1, '.'), (10, ':'), (25, '+'), (50, '*'), (100, 'H'), (500, '#')];

    /// Returns how many clients return in each column, for three retries.
    fn columns(jitter: Jitter) -> [usize; COLUMNS] {
        let backoff = Backoff::exponential(Duration::from_secs(1)).jitter(jitter);
        let mut columns = [0; COLUMNS];
        for seed in 0..CLIENTS {
            let mut at = Duration::ZERO;
            for wait in backoff.waits(seed).take(3) {
                at += wait;
                let column = usize::try_from(at.as_millis() / COLUMN.as_millis()).unwrap();
                if let Some(column) = columns.get_mut(column) {
                    *column += 1;
                }
            }
        }
        columns
    }

    fn row(name: &str, jitter: Jitter) -> String {
        let columns = columns(jitter);
        let shade = |clients| SHADES.iter().rev().find(|(from, _)| clients >= *from);
        let picture: String = columns
            .iter()
            .map(|clients| shade(*clients).map_or(' ', |(_, shade)| *shade))
            .collect();
        let worst = columns.iter().max().unwrap();
        format!("{name:<13} |{picture}| {worst:>4}")
    }

    #[test]
    fn guide_picture_matches_backoff() {
        let rows = [
            row("None", Jitter::None),
            row("Equal", Jitter::Equal),
            row("Full", Jitter::Full),
            row("Decorrelated", Jitter::Decorrelated),
            row("Additive(1 s)", Jitter::Additive(Duration::from_secs(1))),
        ];
        let picture = rows.join("\n");
        assert!(include_str!("guide.md").contains(&picture), "guide.md must contain\n{picture}");
    }
}
