//! The macro that declares events.

/// Declares all events: their structs, the [`Event`](super::Event) enum, names, levels, texts and
/// fields.
///
/// Each field has a cardinality, which says whether its value may become a metric label:
/// `bounded` (from the configuration or an enum) or `unbounded`.
macro_rules! events {
    ($(
        $(#[doc = $doc:literal])*
        struct $name:ident<'a> {
            $(
                $(#[doc = $field_doc:literal])*
                $field:ident: $type:ty, $cardinality:ident;
            )*
        }
        level($level_event:ident) = $level:expr;
        text($text_event:ident, $f:ident) = $text:expr;
    )*) => {
        /// An event of a layer.
        #[derive(Clone, Copy, Debug)]
        #[non_exhaustive]
        pub enum Event<'a> {
            $(
                $(#[doc = $doc])*
                $name($name<'a>),
            )*
        }

        impl Event<'_> {
            /// Returns the event's name, such as `CircuitChanged`.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => stringify!($name),)*
                }
            }

            /// Returns the level at which a log shows the event by default.
            #[must_use]
            pub fn level(&self) -> Level {
                match self {
                    $(Self::$name(event) => event.level(),)*
                }
            }
        }

        impl fmt::Display for Event<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name(event) => event.fmt(f),)*
                }
            }
        }

        /// The documentation table of all events.
        #[cfg(test)]
        pub(super) const TABLE: &[(&str, &[(&str, &str)], &[&str])] = &[
            $((
                stringify!($name),
                &[$((stringify!($field), stringify!($cardinality)),)*],
                &[$($doc),*],
            ),)*
        ];

        /// Writes the event with its fields to `tracing`. The level must be a literal there.
        #[cfg(feature = "tracing")]
        macro_rules! trace_event {
            ($event:expr, $trace_level:ident) => {
                match $event {
                    $(Event::$name(event) => ::tracing::event!(
                        target: "tower_upstream",
                        ::tracing::Level::$trace_level,
                        event = stringify!($name),
                        $($field = ?event.$field,)*
                        "{event}"
                    ),)*
                }
            };
        }

        $(
            $(#[doc = $doc])*
            #[derive(Clone, Copy, Debug)]
            #[non_exhaustive]
            pub struct $name<'a> {
                $(
                    $(#[doc = $field_doc])*
                    pub $field: $type,
                )*
            }

            impl<'a> $name<'a> {
                /// Creates the event.
                #[must_use]
                pub const fn new($($field: $type),*) -> Self {
                    Self { $($field,)* }
                }

                fn level(&self) -> Level {
                    let $level_event = self;
                    $level
                }
            }

            impl fmt::Display for $name<'_> {
                fn fmt(&self, $f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    let $text_event = self;
                    $text
                }
            }

            impl<'a> From<$name<'a>> for Event<'a> {
                fn from(event: $name<'a>) -> Self {
                    Self::$name(event)
                }
            }
        )*
    };
}

pub(super) use events;
