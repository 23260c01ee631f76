/// The regions that a call has tried, by number: at most so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tried {
    regions: [u16; Tried::MOST],
    len: u8,
}

impl Tried {
    /// How many regions one call can try.
    pub(crate) const MOST: usize = 7;

    pub(crate) const NONE: Self = Self { regions: [0; Self::MOST], len: 0 };

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

    /// Adds a region; past the bound it is forgotten.
    #[inline]
    pub(crate) fn push(&mut self, region: usize) {
        let len = self.len();
        if let (Some(place), Ok(region)) = (self.regions.get_mut(len), region.try_into()) {
            *place = region;
            self.len += 1;
        }
    }
}
