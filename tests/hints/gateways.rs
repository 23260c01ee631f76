//! Other providers, gateways and the IETF's drafts, in the formats that they document.

use super::Case;

#[rustfmt::skip]
pub(super) const CASES: &[Case] = &[
    ("GitHub", "
        x-ratelimit-limit: 5000
        x-ratelimit-remaining: 4987
        x-ratelimit-used: 13
        x-ratelimit-reset: 1778850000
        x-ratelimit-resource: core
    ", &["requests 4987/5000 in 3600s"], None),
    ("GitHub, primary limit", "
        x-ratelimit-limit: 60
        x-ratelimit-remaining: 0
        x-ratelimit-used: 60
        x-ratelimit-reset: 1778848500
        x-ratelimit-resource: core
    ", &["requests 0/60 in 2100s"], Some(2100.0)),
    ("GitHub, secondary limit", "
        x-ratelimit-limit: 5000
        x-ratelimit-remaining: 4000
        x-ratelimit-reset: 1778850000
        retry-after: 60
    ", &["requests 4000/5000 in 3600s"], Some(60.0)),
    ("GitLab", "
        ratelimit-limit: 60
        ratelimit-name: throttle_authenticated_web
        ratelimit-observed: 67
        ratelimit-remaining: 0
        ratelimit-reset: 1778846430
        ratelimit-resettime: Fri, 15 May 2026 12:00:30 GMT
    ", &["requests 0/60 in 30s"], Some(30.0)),
    ("Discord", "
        x-ratelimit-limit: 5
        x-ratelimit-remaining: 0
        x-ratelimit-reset: 1778846401.123
        x-ratelimit-reset-after: 0.64
        x-ratelimit-bucket: abcd1234
        x-ratelimit-scope: user
    ", &["requests 0/5 in 640ms"], Some(0.64)),
    ("Discord, without a wait", "
        x-ratelimit-limit: 5
        x-ratelimit-remaining: 0
        x-ratelimit-reset: 1778846401.123
    ", &["requests 0/5 in 1.123s"], Some(1.123)),
    ("X", "
        x-rate-limit-limit: 900
        x-rate-limit-remaining: 0
        x-rate-limit-reset: 1778847300
    ", &["requests 0/900 in 900s"], Some(900.0)),
    ("X, by day", "
        x-rate-limit-limit: 1080000
        x-rate-limit-remaining: 1079999
        x-rate-limit-reset: 1778847300
        x-app-limit-24hour-limit: 50
        x-app-limit-24hour-remaining: 0
        x-app-limit-24hour-reset: 1778930000
        x-user-limit-24hour-limit: 25
        x-user-limit-24hour-remaining: 3
        x-user-limit-24hour-reset: 1778930000
    ", &["requests 0/50 in 83600s per 86400s", "requests 1079999/1080000 in 900s", "requests 3/25 in 83600s per 86400s"], Some(83600.0)),
    ("Reddit", "
        x-ratelimit-used: 3
        x-ratelimit-remaining: 597.0
        x-ratelimit-reset: 178
    ", &["requests 597/? in 178s"], None),
    ("Linear", "
        x-ratelimit-requests-limit: 1500
        x-ratelimit-requests-remaining: 1499
        x-ratelimit-requests-reset: 1778850000000
        x-ratelimit-complexity-limit: 250000
        x-ratelimit-complexity-remaining: 249000
        x-ratelimit-complexity-reset: 1778850000000
    ", &["other 249000/250000 in 3600s", "requests 1499/1500 in 3600s"], None),
    ("Shopify", "
        x-shopify-shop-api-call-limit: 32/40
    ", &["requests 8/40"], None),
    ("Shopify, throttled", "
        x-shopify-shop-api-call-limit: 40/40
        retry-after: 2.0
    ", &["requests 0/40"], Some(2.0)),
    ("Azure Resource Manager", "
        x-ms-ratelimit-remaining-subscription-reads: 11999
        x-ms-ratelimit-remaining-subscription-global-reads: 15999
    ", &["other 11999/?", "other 15999/?"], None),
    ("Azure Resource Manager, by resource", "
        x-ms-ratelimit-remaining-resource: Microsoft.Compute/HighCostGet3Min;159,Microsoft.Compute/HighCostGet30Min;799
    ", &[], None),
    ("Envoy", r#"
        x-ratelimit-limit: 10, 10;w=1;name="per-ip", 1000;w=3600;name="per-user"
        x-ratelimit-remaining: 9
        x-ratelimit-reset: 1
    "#, &["requests ?/1000 per 3600s", "requests 9/10 in 1s per 1s"], None),
    ("Envoy, throttled", "
        x-ratelimit-limit: 10, 10;w=60
        x-ratelimit-remaining: 0
        x-ratelimit-reset: 47
    ", &["requests 0/10 in 47s per 60s"], Some(47.0)),
    ("Envoy, a comma in a name", r#"
        x-ratelimit-limit: 10, 10;w=1;name="a, 5;w=9"
        x-ratelimit-remaining: 9
        x-ratelimit-reset: 1
    "#, &["requests 9/10 in 1s per 1s"], None),
    ("Kong", "
        ratelimit-limit: 5
        ratelimit-remaining: 4
        ratelimit-reset: 13
        x-ratelimit-limit-minute: 5
        x-ratelimit-remaining-minute: 4
    ", &["requests 4/5 in 13s", "requests 4/5 per 60s"], None),
    ("Kong, throttled", "
        ratelimit-limit: 5
        ratelimit-remaining: 0
        ratelimit-reset: 13
        x-ratelimit-limit-minute: 5
        x-ratelimit-remaining-minute: 0
        retry-after: 13
    ", &["requests 0/5 in 13s", "requests 0/5 per 60s"], Some(13.0)),
    ("Kong, several windows", "
        x-ratelimit-limit-second: 10
        x-ratelimit-remaining-second: 9
        x-ratelimit-limit-hour: 10000
        x-ratelimit-remaining-hour: 9999
        x-ratelimit-limit-day: 50000
        x-ratelimit-remaining-day: 42
        x-ratelimit-limit-year: 1000000
        x-ratelimit-remaining-year: 999999
    ", &["requests 42/50000 per 86400s", "requests 9/10 per 1s", "requests 9999/10000 per 3600s", "requests 999999/1000000"], None),
    ("the provider of 60 a minute", "
        X-RateLimit-Remaining: 0
        X-RateLimit-Reset: 12
    ", &["requests 0/? in 12s"], Some(12.0)),
    ("IETF draft 03, policies in the limit", "
        ratelimit-limit: 10, 10;w=1, 50;w=60, 1000;w=3600
        ratelimit-remaining: 0
        ratelimit-reset: 1
    ", &["requests ?/1000 per 3600s", "requests ?/50 per 60s", "requests 0/10 in 1s per 1s"], Some(1.0)),
    ("IETF draft 03, a window on the limit", "
        ratelimit-limit: 100;w=60
        ratelimit-remaining: 0
        ratelimit-reset: 5
    ", &["requests 0/100 in 5s per 60s"], Some(5.0)),
    ("IETF draft 06", "
        ratelimit-limit: 100
        ratelimit-policy: 100;w=60
        ratelimit-remaining: 50
        ratelimit-reset: 50
    ", &["requests 50/100 in 50s per 60s"], None),
    ("IETF draft 06, two policies", r#"
        ratelimit-limit: 10
        ratelimit-policy: 10;w=1, 50;w=60;burst=1000;comment="fixed window"
        ratelimit-remaining: 0
        ratelimit-reset: 1
    "#, &["requests ?/50 per 60s", "requests 0/10 in 1s per 1s"], Some(1.0)),
    ("IETF draft 07", "
        ratelimit: limit=100, remaining=0, reset=50
        ratelimit-policy: 100;w=60
    ", &["requests 0/100 in 50s per 60s"], Some(50.0)),
    ("IETF draft 08", r#"
        ratelimit: "default";r=50;t=30
        ratelimit-policy: "default";q=100;w=60
    "#, &["requests 50/100 in 30s per 60s"], None),
    ("IETF draft 08, as tokens", "
        ratelimit: default;r=0;t=30
        ratelimit-policy: default;q=100;w=60
    ", &["requests 0/100 in 30s per 60s"], Some(30.0)),
    ("IETF draft 10, two policies", r#"
        ratelimit: "burst";r=0;t=7, "daily";r=400;t=3600
        ratelimit-policy: "burst";q=100;w=60,"daily";q=1000;w=86400
    "#, &["requests 0/100 in 7s per 60s", "requests 400/1000 in 3600s per 86400s"], Some(7.0)),
    ("IETF draft 10, two lines", r#"
        ratelimit: "burst";r=0;t=7
        ratelimit: "daily";r=0;t=3600
    "#, &["requests 0/? in 3600s", "requests 0/? in 7s"], Some(3600.0)),
    ("IETF draft 10, another unit", r#"
        ratelimit: "peruser";r=0;t=9
        ratelimit-policy: "peruser";q=65535;qu="content-bytes";w=10;pk=:sdfjLJUOUH==:
    "#, &["other 0/65535 in 9s per 10s"], Some(9.0)),
    ("IETF draft 10, requests by name", r#"
        ratelimit: "a";r=3;t=9
        ratelimit-policy: "a";q=5;qu="requests";w=10
    "#, &["requests 3/5 in 9s per 10s"], None),
    ("IETF draft 10, no reset", r#"
        ratelimit: "default";r=0
    "#, &["requests 0/?"], None),
    ("express-rate-limit, draft 8", r#"
        ratelimit: "100-in-15min"; r=99; t=900
        ratelimit-policy: "100-in-15min"; q=100; w=900; pk=:MTI3LjAuMC4x:
    "#, &["requests 99/100 in 900s per 900s"], None),
    ("nginx and others, a date", "
        x-ratelimit-remaining: 0
        x-ratelimit-reset: Fri, 15 May 2026 12:00:20 GMT
    ", &["requests 0/? in 20s"], Some(20.0)),
];
