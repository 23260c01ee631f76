//! The median of measurements and its confidence bound.

/// Returns the median.
///
/// # Panics
///
/// If `measured` is empty.
pub fn median(measured: &[f64]) -> f64 {
    let sorted = sorted(measured);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    }
}

/// Returns the lower bound of the true median with a confidence of 95 %, for any distribution. It is
/// an order statistic; with fewer than 5 measurements it is the smallest.
///
/// The number of measurements below the true median is binomial with p = 1/2: see Conover, *Practical
/// Nonparametric Statistics*, "Confidence Interval for a Quantile".
pub fn lower_bound(measured: &[f64]) -> f64 {
    const DOUBT: f64 = 0.05;
    let n = measured.len() as f64;
    // The probabilities of 0, 1, 2 … heads.
    let heads = (0..).scan(0.5_f64.powf(n), |next, k| {
        let this = *next;
        *next *= (n - f64::from(k)) / (f64::from(k) + 1.0);
        Some(this)
    });
    let at_most = heads.scan(0.0, |sum, random| {
        *sum += random;
        Some(*sum)
    });
    let rank = at_most.take_while(|random| *random <= DOUBT).take(measured.len()).count();
    sorted(measured)[rank.saturating_sub(1)]
}

fn sorted(measured: &[f64]) -> Vec<f64> {
    let mut sorted = measured.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_odd_and_even_counts() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn lower_bound_matches_sign_test_tables() {
        // One-sided 95 %, from tables of the sign test: the 11th least of 30, the first of 5.
        let thirty: Vec<_> = (1..=30).map(f64::from).collect();
        assert_eq!(lower_bound(&thirty), 11.0);
        assert_eq!(lower_bound(&thirty[..5]), 1.0);
        assert_eq!(lower_bound(&thirty[..1]), 1.0);
    }
}
