//! Providers of language models, in the formats that they document.

use super::Case;

#[rustfmt::skip]
pub(super) const CASES: &[Case] = &[
    ("OpenAI, as documented", "
        x-ratelimit-limit-requests: 60
        x-ratelimit-limit-tokens: 150000
        x-ratelimit-remaining-requests: 59
        x-ratelimit-remaining-tokens: 149984
        x-ratelimit-reset-requests: 1s
        x-ratelimit-reset-tokens: 6m0s
    ", &["requests 59/60 in 1s", "tokens 149984/150000 in 360s"], None),
    ("OpenAI, milliseconds", "
        x-ratelimit-limit-requests: 5000
        x-ratelimit-limit-tokens: 160000
        x-ratelimit-remaining-requests: 4999
        x-ratelimit-remaining-tokens: 159976
        x-ratelimit-reset-requests: 12ms
        x-ratelimit-reset-tokens: 9ms
    ", &["requests 4999/5000 in 12ms", "tokens 159976/160000 in 9ms"], None),
    ("OpenAI, requests at their end", "
        x-ratelimit-limit-requests: 200
        x-ratelimit-limit-tokens: 40000
        x-ratelimit-remaining-requests: 0
        x-ratelimit-remaining-tokens: 39000
        x-ratelimit-reset-requests: 7m12s
        x-ratelimit-reset-tokens: 1.5s
    ", &["requests 0/200 in 432s", "tokens 39000/40000 in 1.5s"], Some(432.0)),
    ("OpenAI, tokens at their end", "
        x-ratelimit-limit-requests: 500
        x-ratelimit-limit-tokens: 30000
        x-ratelimit-remaining-requests: 499
        x-ratelimit-remaining-tokens: 0
        x-ratelimit-reset-requests: 120ms
        x-ratelimit-reset-tokens: 59.94s
    ", &["requests 499/500 in 120ms", "tokens 0/30000 in 59.94s"], Some(59.94)),
    ("OpenAI, both at their end", "
        x-ratelimit-limit-requests: 3
        x-ratelimit-limit-tokens: 40000
        x-ratelimit-remaining-requests: 0
        x-ratelimit-remaining-tokens: 0
        x-ratelimit-reset-requests: 20s
        x-ratelimit-reset-tokens: 1m30.951s
    ", &["requests 0/3 in 20s", "tokens 0/40000 in 90.951s"], Some(90.951)),
    ("OpenAI, a day and hours", "
        x-ratelimit-limit-requests: 200
        x-ratelimit-limit-tokens: 40000
        x-ratelimit-remaining-requests: 0
        x-ratelimit-remaining-tokens: 100
        x-ratelimit-reset-requests: 1d2h3m4s
        x-ratelimit-reset-tokens: 1h0m0s
    ", &["requests 0/200 in 93784s", "tokens 100/40000 in 3600s"], Some(93784.0)),
    ("OpenAI, by usage", "
        x-ratelimit-limit-tokens: 160000
        x-ratelimit-limit-tokens_usage_based: 160000
        x-ratelimit-remaining-tokens: 159976
        x-ratelimit-remaining-tokens_usage_based: 0
        x-ratelimit-reset-tokens: 9ms
        x-ratelimit-reset-tokens_usage_based: 19ms
    ", &["tokens 0/160000 in 19ms", "tokens 159976/160000 in 9ms"], Some(0.019)),
    ("OpenAI, of a project", "
        x-ratelimit-limit-project-tokens: 500000
        x-ratelimit-remaining-project-tokens: 499000
        x-ratelimit-reset-project-tokens: 120ms
    ", &["tokens 499000/500000 in 120ms"], None),
    ("OpenAI, input images", "
        x-ratelimit-limit-input-images: 50000
        x-ratelimit-remaining-input-images: 49999
        x-ratelimit-reset-input-images: 1ms
    ", &["other 49999/50000 in 1ms"], None),
    ("OpenAI, retry-after beside", "
        x-ratelimit-limit-requests: 60
        x-ratelimit-limit-tokens: 150000
        x-ratelimit-remaining-requests: 0
        x-ratelimit-remaining-tokens: 0
        x-ratelimit-reset-requests: 1s
        x-ratelimit-reset-tokens: 6m0s
        retry-after: 2
    ", &["requests 0/60 in 1s", "tokens 0/150000 in 360s"], Some(2.0)),
    ("OpenAI, retry-after-ms beside", "
        x-ratelimit-limit-requests: 60
        x-ratelimit-limit-tokens: 150000
        x-ratelimit-remaining-requests: 0
        x-ratelimit-remaining-tokens: 0
        x-ratelimit-reset-requests: 1s
        x-ratelimit-reset-tokens: 6m0s
        retry-after-ms: 1500
    ", &["requests 0/60 in 1s", "tokens 0/150000 in 360s"], Some(1.5)),
    ("Azure OpenAI", "
        x-ratelimit-limit-requests: 100
        x-ratelimit-limit-tokens: 100000
        x-ratelimit-remaining-requests: 99
        x-ratelimit-remaining-tokens: 99984
        x-ratelimit-reset-requests: 10
        x-ratelimit-reset-tokens: 0
    ", &["requests 99/100 in 10s", "tokens 99984/100000"], None),
    ("Azure OpenAI, throttled", "
        x-ratelimit-remaining-requests: 0
        x-ratelimit-remaining-tokens: 120
        x-ratelimit-reset-requests: 26
    ", &["requests 0/? in 26s", "tokens 120/?"], Some(26.0)),
    ("Azure OpenAI, unknown tokens", "
        x-ratelimit-remaining-requests: 9
        x-ratelimit-remaining-tokens: -1
    ", &["requests 9/?"], None),
    ("Azure OpenAI, retry-after", "
        x-ratelimit-reset-requests: 60
        x-ratelimit-remaining-requests: 0
        retry-after: 17
        x-ms-retry-after-ms: 16200
    ", &["requests 0/? in 60s"], Some(16.2)),
    ("Anthropic", "
        anthropic-ratelimit-requests-limit: 1000
        anthropic-ratelimit-requests-remaining: 999
        anthropic-ratelimit-requests-reset: 2026-05-15T12:00:01Z
        anthropic-ratelimit-tokens-limit: 96000
        anthropic-ratelimit-tokens-remaining: 96000
        anthropic-ratelimit-tokens-reset: 2026-05-15T12:00:02Z
        anthropic-ratelimit-input-tokens-limit: 80000
        anthropic-ratelimit-input-tokens-remaining: 80000
        anthropic-ratelimit-input-tokens-reset: 2026-05-15T12:00:03Z
        anthropic-ratelimit-output-tokens-limit: 16000
        anthropic-ratelimit-output-tokens-remaining: 16000
        anthropic-ratelimit-output-tokens-reset: 2026-05-15T12:00:04Z
    ", &["input 80000/80000 in 3s", "output 16000/16000 in 4s", "requests 999/1000 in 1s", "tokens 96000/96000 in 2s"], None),
    ("Anthropic, output at its end", "
        anthropic-ratelimit-requests-limit: 50
        anthropic-ratelimit-requests-remaining: 49
        anthropic-ratelimit-requests-reset: 2026-05-15T12:00:02Z
        anthropic-ratelimit-input-tokens-limit: 50000
        anthropic-ratelimit-input-tokens-remaining: 48000
        anthropic-ratelimit-input-tokens-reset: 2026-05-15T12:00:03Z
        anthropic-ratelimit-output-tokens-limit: 10000
        anthropic-ratelimit-output-tokens-remaining: 0
        anthropic-ratelimit-output-tokens-reset: 2026-05-15T12:00:41Z
    ", &["input 48000/50000 in 3s", "output 0/10000 in 41s", "requests 49/50 in 2s"], Some(41.0)),
    ("Anthropic, an offset", "
        anthropic-ratelimit-requests-limit: 50
        anthropic-ratelimit-requests-remaining: 0
        anthropic-ratelimit-requests-reset: 2026-05-15T14:00:10+02:00
    ", &["requests 0/50 in 10s"], Some(10.0)),
    ("Anthropic, with a fraction", "
        anthropic-ratelimit-requests-limit: 50
        anthropic-ratelimit-requests-remaining: 0
        anthropic-ratelimit-requests-reset: 2026-05-15T12:00:10.25Z
    ", &["requests 0/50 in 10.25s"], Some(10.25)),
    ("Anthropic, full already", "
        anthropic-ratelimit-requests-limit: 1000
        anthropic-ratelimit-requests-remaining: 1000
        anthropic-ratelimit-requests-reset: 2026-05-15T12:00:00Z
    ", &["requests 1000/1000"], None),
    ("Anthropic, priority tier", "
        anthropic-priority-input-tokens-limit: 10000
        anthropic-priority-input-tokens-remaining: 9618
        anthropic-priority-input-tokens-reset: 2026-05-15T12:01:00Z
        anthropic-priority-output-tokens-limit: 10000
        anthropic-priority-output-tokens-remaining: 6000
        anthropic-priority-output-tokens-reset: 2026-05-15T12:01:00Z
    ", &["input 9618/10000 in 60s", "output 6000/10000 in 60s"], None),
    ("Anthropic, priority beside standard", "
        anthropic-ratelimit-input-tokens-limit: 50000
        anthropic-ratelimit-input-tokens-remaining: 48000
        anthropic-ratelimit-input-tokens-reset: 2026-05-15T12:00:03Z
        anthropic-priority-input-tokens-limit: 10000
        anthropic-priority-input-tokens-remaining: 0
        anthropic-priority-input-tokens-reset: 2026-05-15T12:01:00Z
    ", &["input 0/10000 in 60s", "input 48000/50000 in 3s"], Some(60.0)),
    ("Anthropic, unified", "
        anthropic-ratelimit-unified-status: allowed
        anthropic-ratelimit-unified-reset: 1778850000
        anthropic-ratelimit-unified-5h-status: allowed
        anthropic-ratelimit-unified-5h-reset: 1778850000
        anthropic-ratelimit-unified-5h-utilization: 0.14
        anthropic-ratelimit-unified-7d-reset: 1779364800
        anthropic-ratelimit-unified-7d-utilization: 0.13
        anthropic-ratelimit-unified-representative-claim: five_hour
    ", &["other ?/? in 3600s", "other ?/? in 3600s per 18000s", "other ?/? in 518400s per 604800s"], None),
    ("Anthropic, unified, rejected", "
        anthropic-ratelimit-unified-status: rejected
        anthropic-ratelimit-unified-5h-reset: 1778850000
        retry-after: 3600
        x-should-retry: true
    ", &["other ?/? in 3600s per 18000s"], Some(3600.0)),
    ("Groq", "
        x-ratelimit-limit-requests: 14400
        x-ratelimit-limit-tokens: 18000
        x-ratelimit-remaining-requests: 14370
        x-ratelimit-remaining-tokens: 17997
        x-ratelimit-reset-requests: 2m59.56s
        x-ratelimit-reset-tokens: 7.66s
    ", &["requests 14370/14400 in 179.56s", "tokens 17997/18000 in 7.66s"], None),
    ("Groq, throttled", "
        x-ratelimit-limit-requests: 14400
        x-ratelimit-limit-tokens: 18000
        x-ratelimit-remaining-requests: 14370
        x-ratelimit-remaining-tokens: 0
        x-ratelimit-reset-requests: 2m59.56s
        x-ratelimit-reset-tokens: 7.66s
    ", &["requests 14370/14400 in 179.56s", "tokens 0/18000 in 7.66s"], Some(7.66)),
    ("xAI", "
        x-ratelimit-limit-requests: 480
        x-ratelimit-limit-tokens: 2000000
        x-ratelimit-remaining-requests: 479
        x-ratelimit-remaining-tokens: 1999990
    ", &["requests 479/480", "tokens 1999990/2000000"], None),
    ("xAI, throttled", "
        x-ratelimit-limit-requests: 480
        x-ratelimit-remaining-requests: 0
    ", &["requests 0/480"], None),
    ("Cerebras", "
        x-ratelimit-limit-requests-day: 1000000000
        x-ratelimit-limit-tokens-minute: 1000000000
        x-ratelimit-remaining-requests-day: 999997455
        x-ratelimit-remaining-tokens-minute: 999998298
        x-ratelimit-reset-requests-day: 33011.382867097855
        x-ratelimit-reset-tokens-minute: 11.382867097854614
    ", &["requests 999997455/1000000000 in 33011.382867097s per 86400s", "tokens 999998298/1000000000 in 11.382867097s per 60s"], None),
    ("Cerebras, tokens at their end", "
        x-ratelimit-limit-tokens-minute: 60000
        x-ratelimit-remaining-tokens-minute: 0
        x-ratelimit-reset-tokens-minute: 26.5
        x-ratelimit-remaining-tokens-hour: 940000
        x-ratelimit-reset-tokens-hour: 1826.5
    ", &["tokens 0/60000 in 26.5s per 60s", "tokens 940000/? in 1826.5s per 3600s"], Some(26.5)),
    ("SambaNova", "
        x-ratelimit-limit-requests: 20
        x-ratelimit-limit-requests-day: 12000
        x-ratelimit-remaining-requests: 19
        x-ratelimit-remaining-requests-day: 11999
        x-ratelimit-reset-requests: 1778846460
        x-ratelimit-reset-requests-day: 1778932800
    ", &["requests 11999/12000 in 86400s per 86400s", "requests 19/20 in 60s"], None),
    ("SambaNova, throttled", "
        x-ratelimit-limit-requests: 20
        x-ratelimit-remaining-requests: 0
        x-ratelimit-reset-requests: 1778846460
    ", &["requests 0/20 in 60s"], Some(60.0)),
    ("Mistral", "
        x-ratelimit-limit-req-minute: 60
        x-ratelimit-limit-tokens-minute: 50000
        x-ratelimit-limit-tokens-month: 4000000
        x-ratelimit-remaining-req-minute: 59
        x-ratelimit-remaining-tokens-minute: 47196
        x-ratelimit-remaining-tokens-month: 3950246
        x-ratelimit-tokens-query-cost: 2804
    ", &["requests 59/60 per 60s", "tokens 3950246/4000000", "tokens 47196/50000 per 60s"], None),
    ("Mistral, a key without allowance", "
        x-ratelimit-limit-req-minute: 0
        x-ratelimit-remaining-req-minute: 0
    ", &[], None),
    ("Fireworks", "
        x-ratelimit-limit-requests: 600
        x-ratelimit-remaining-requests: 599
        x-ratelimit-limit-tokens-prompt: 7200000
        x-ratelimit-remaining-tokens-prompt: 7193993
        x-ratelimit-limit-tokens-generated: 72000
        x-ratelimit-remaining-tokens-generated: 69338
        x-ratelimit-over-limit: no
    ", &["input 7193993/7200000", "output 69338/72000", "requests 599/600"], None),
    ("Fireworks, adjusted for the cache", "
        x-ratelimit-limit-tokens-cache-adjusted-prompt: 60000
        x-ratelimit-remaining-tokens-cache-adjusted-prompt: 100
    ", &["input 100/60000"], None),
    ("Together", "
        x-ratelimit-limit: 10
        x-ratelimit-remaining: 9
        x-ratelimit-reset: 1
        x-tokenlimit-limit: 3000
        x-tokenlimit-remaining: 2900
    ", &["requests 9/10 in 1s", "tokens 2900/3000"], None),
    ("Together, throttled", "
        x-ratelimit-limit: 10
        x-ratelimit-remaining: 0
        x-ratelimit-reset: 0.6
        x-tokenlimit-limit: 3000
        x-tokenlimit-remaining: 2900
    ", &["requests 0/10 in 600ms", "tokens 2900/3000"], Some(0.6)),
    ("OpenRouter", "
        x-ratelimit-limit: 20
        x-ratelimit-remaining: 0
        x-ratelimit-reset: 1778846445000
    ", &["requests 0/20 in 45s"], Some(45.0)),
    ("DeepSeek, Gemini, Bedrock", "
        content-type: application/json
        x-request-id: 0
    ", &[], None),
];
