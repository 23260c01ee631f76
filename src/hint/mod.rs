//! What a server asks of its clients: when to come back, and whether to.
//!
//! | header | written as | by |
//! |---|---|---|
//! | `retry-after` | seconds, fractions of them, or an HTTP date | RFC 9110 §10.2.3 |
//! | `retry-after-ms`, `x-ms-retry-after-ms` | milliseconds | OpenAI, Azure |
//! | `x-should-retry` | `true` or `false` | OpenAI, Anthropic |
//! | `grpc-retry-pushback-ms` | milliseconds; anything else means *do not retry* | gRPC A6 |
//! | `x-ratelimit-*`, `anthropic-ratelimit-*`, `ratelimit` … | see [below](#limits) | many |
//!
//! A value that is malformed, negative, past, shorter than a millisecond or longer than
//! 366 days means *unknown*, never zero: clients that don't wait would turn a server's mistake
//! into a storm. A zero means *unknown* too, except in gRPC's pushback, where it means *at once*. A
//! date is measured against the response's own `Date` if it has one, since clocks
//! differ.
//!
//! The first header with a known value counts, in this order: pushback,
//! milliseconds, `retry-after`. If one header is sent several times, the
//! longest wait counts, and *no* before *yes*. If no header has a known value,
//! the hint is to wait until exhausted [`Limits`] are reset.
//!
//! # Limits
//!
//! | header | reset written as | by |
//! |---|---|---|
//! | `x-ratelimit-{limit,remaining,reset}-{requests,tokens}` | `6m0s`, `1s`, `12ms` | [OpenAI], [Groq] (`2m59.56s`), xAI (without reset) |
//! | the same | seconds | [Azure OpenAI] |
//! | `x-ratelimit-…-requests-day`, `…-tokens-minute` | seconds with a fraction | [Cerebras] |
//! | `x-ratelimit-…-requests-day` | epoch seconds | [`SambaNova`] |
//! | `x-ratelimit-{limit,remaining}-{req-minute,tokens-minute,tokens-month}` | – | Mistral |
//! | `x-ratelimit-{limit,remaining}-{requests,tokens-prompt,tokens-generated}` | – | [Fireworks] |
//! | `x-ratelimit-…`, `x-tokenlimit-{limit,remaining}` | seconds | [Together] |
//! | `anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-…`, `anthropic-priority-…` | RFC 3339 | [Anthropic] |
//! | `anthropic-ratelimit-unified-…-reset` | epoch seconds | Anthropic, for subscriptions |
//! | `x-ratelimit-{limit,remaining,reset}` | epoch seconds | [GitHub] |
//! | the same | epoch milliseconds | [OpenRouter] |
//! | the same, and `x-ratelimit-reset-after` | epoch seconds; seconds with a fraction | [Discord] |
//! | the same, `x-ratelimit-limit` as `10, 10;w=1;name="ip"` | seconds | [Envoy] |
//! | `x-ratelimit-{limit,remaining}-minute`, `ratelimit-…` | seconds | [Kong] |
//! | `x-rate-limit-…`, `x-app-limit-24hour-…`, `x-user-limit-24hour-…` | epoch seconds | [X] |
//! | `x-ms-ratelimit-remaining-…` | – | [Azure Resource Manager] |
//! | `x-shopify-shop-api-call-limit` as `32/40` | – | [Shopify] |
//! | `ratelimit-{limit,remaining,reset}` | seconds, or epoch seconds | [IETF draft ≤ 06], [GitLab] |
//! | `ratelimit: limit=10, remaining=4, reset=5`, `ratelimit-policy: 10;w=60` | seconds | [IETF draft 07] |
//! | `ratelimit: "day";r=50;t=30`, `ratelimit-policy: "day";q=100;w=60` | seconds | [IETF draft ≥ 08] |
//!
//! A value that is malformed, negative or past, a reset longer than a year, and the
//! largest number of an integer type (such as `2147483647`) mean *unknown*, never zero. If one
//! header is sent several times, the most cautious value counts. A limit of zero
//! is left out, as there is nothing to wait for.
//!
//! [OpenAI]: https://platform.openai.com/docs/guides/rate-limits
//! [Groq]: https://console.groq.com/docs/rate-limits
//! [Azure OpenAI]: https://learn.microsoft.com/azure/ai-services/openai/how-to/quota
//! [Cerebras]: https://inference-docs.cerebras.ai/support/rate-limits
//! [`SambaNova`]: https://docs.sambanova.ai/cloud/docs/get-started/rate-limits
//! [Fireworks]: https://docs.fireworks.ai/guides/quotas_usage/rate-limits
//! [Together]: https://docs.together.ai/docs/rate-limits
//! [Anthropic]: https://docs.anthropic.com/en/api/rate-limits
//! [GitHub]: https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
//! [OpenRouter]: https://openrouter.ai/docs/api-reference/limits
//! [Discord]: https://discord.com/developers/docs/topics/rate-limits
//! [Envoy]: https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/rate_limit_filter
//! [Kong]: https://docs.konghq.com/hub/kong-inc/rate-limiting/
//! [X]: https://docs.x.com/x-api/fundamentals/rate-limits
//! [Azure Resource Manager]: https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling
//! [Shopify]: https://shopify.dev/docs/api/usage/rate-limits
//! [GitLab]: https://docs.gitlab.com/administration/settings/user_and_ip_rate_limits/
//! [IETF draft ≤ 06]: https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/06/
//! [IETF draft 07]: https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/07/
//! [IETF draft ≥ 08]: https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/10/

mod limits;
mod pushback;
mod retry_after;
mod should_retry;
// Under loom tokio's clock can't be paused.
#[cfg(all(test, not(loom)))]
mod tests;
mod value;

use std::time::Duration;

use http::HeaderMap;

pub use self::limits::{Limit, Limits, Resource};
#[cfg(feature = "peek")]
pub(crate) use self::value::protobuf_duration;

/// What a server requested in a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hint {
    /// How long to wait before calling again. `None`: not said.
    pub retry_after: Option<Duration>,
    /// Whether to send the same request again at all. It overrules the status. `None`: not said.
    pub should_retry: Option<bool>,
    /// Whether the server didn't ask for the wait: it lasts until exhausted [`Limits`] are reset.
    /// Servers send limits with any response, so this doesn't prove that the request was refused
    /// unprocessed.
    pub of_limits: bool,
}

impl Hint {
    /// No hint.
    pub const NONE: Self = Self { retry_after: None, should_retry: None, of_limits: false };

    /// Returns the same hint with this wait, as asked for by the server.
    #[must_use]
    pub const fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self.of_limits = false;
        self
    }

    /// Sets whether to send the request again.
    #[must_use]
    pub const fn with_should_retry(mut self, retry: bool) -> Self {
        self.should_retry = Some(retry);
        self
    }

    /// Reads the hint from the headers of a response that refused a request.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let asked = Self::explicit(headers);
        // Pushback overrules limits even if it names no wait.
        if asked.retry_after.is_some() || pushback::parse(headers).is_some() {
            return asked;
        }
        let retry_after = Limits::from_headers(headers).wait();
        Self { retry_after, of_limits: retry_after.is_some(), ..asked }
    }

    /// Reads only explicit requests of the server. Limits are left out: they are on any response,
    /// and seldom the reason for it.
    pub(crate) fn explicit(headers: &HeaderMap) -> Self {
        let pushback = pushback::parse(headers);
        Self {
            retry_after: match pushback {
                Some(pushback) => pushback.wait(),
                None => retry_after::parse(headers),
            },
            should_retry: match pushback {
                Some(pushback) if pushback.wait().is_none() => Some(false),
                _ => should_retry::parse(headers),
            },
            of_limits: false,
        }
    }
}
