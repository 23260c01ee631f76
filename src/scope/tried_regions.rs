/// The regions that a call has tried, by number: at most [`MOST`](Self::MOST).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TriedRegions {
    regions: [u16; TriedRegions::MOST],
    len: u8,
    /// A bit for each that turned the call away, so that nothing was sent there.
    rejected: u8,
}

impl TriedRegions {
    /// How many regions one call can try.
    pub(crate) const MOST: usize = 7;

    pub(crate) const NONE: Self = Self { regions: [0; Self::MOST], len: 0, rejected: 0 };

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len.into()
    }

    #[inline]
    pub(crate) fn contains(&self, region: usize) -> bool {
        self.iter().any(|tried| tried == region)
    }

    #[inline]
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> {
        self.regions[..self.len()].iter().map(|region| usize::from(*region))
    }

    /// Whether the nth of them turned the call away.
    pub(crate) const fn was_rejected(&self, nth: usize) -> bool {
        self.rejected >> nth & 1 == 1
    }

    /// Adds a region that may have turned the call away.
    pub(crate) fn push_failed(&mut self, region: usize, rejected: bool) {
        let nth = self.len();
        self.push(region);
        if nth < self.len() {
            self.rejected |= u8::from(rejected) << nth;
        }
    }

    /// Adds a region. Past the bound it isn't remembered.
    #[inline]
    pub(crate) fn push(&mut self, region: usize) {
        let len = self.len();
        if let (Some(place), Ok(region)) = (self.regions.get_mut(len), region.try_into()) {
            *place = region;
            self.len += 1;
        }
    }
}
