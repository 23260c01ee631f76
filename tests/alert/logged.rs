//! Alerts in the program's own log.

use std::io;

use super::*;

/// What was written.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn alerts_are_written_at_the_level_of_their_severity() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .without_time()
        .with_ansi(false)
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let alerts = Alerts::builder().service("checkout").tracing(Severity::Warning).build().unwrap();
    for failure in [503, 401] {
        call(alerts.layer().layer_over(upstream(&status(failure)))).await;
    }
    sleep(Duration::from_secs(600)).await;
    flush(&alerts).await;
    let written = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<_> = written.lines().map(str::trim).collect();
    assert_eq!(lines.len(), 2, "{written}");
    let begun = "ERROR tower_upstream::alert: the credential was refused: status 401 \
                 kind=\"credential_rejected\" severity=\"critical\" resolved=false \
                 key=checkout/credential_rejected service=checkout";
    assert_eq!(lines[0], begun);
    assert!(lines[1].starts_with("INFO tower_upstream::alert: the credential isn't"), "{written}");
}
