//! Field lines of one head, kept as byte ranges into one text.

use super::name::Name;

/// A range of bytes in the text of a [`Fields`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The range `start..end`. Heads are bounded far below 4 GiB, so the cast loses nothing.
    pub fn new(start: usize, end: usize) -> Span {
        debug_assert!(start <= end && end <= u32::MAX as usize);
        Span { start: start as u32, end: end as u32 }
    }

    /// Its bytes as a range.
    pub fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }

    /// How many bytes it covers.
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether it covers no byte.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// One field line.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The recognised name.
    pub known: Name,
    /// Whether it stands in the text as it would be written: `name: value` and the end of a line.
    pub is_plain: bool,
    /// The name as it was written.
    pub name: Span,
    /// The value without the white space around it.
    pub value: Span,
}

/// A field is there more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeated;

/// The field lines of a head in their order, with the text that they point into.
///
/// The text and the list are reused from one head to the next: reading a head into a warm
/// `Fields` allocates nothing.
#[derive(Debug, Default)]
pub struct Fields {
    text: Vec<u8>,
    list: Vec<Field>,
    /// The names that have been in the list since it was cleared: most questions are about others.
    seen: u32,
}

impl Fields {
    /// No fields.
    pub const fn none() -> Fields {
        Fields { text: Vec::new(), list: Vec::new(), seen: 0 }
    }

    /// Forgets everything but keeps the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.list.clear();
        self.seen = 0;
    }

    /// Gives memory back that an unusually large head has left behind.
    pub fn shrink(&mut self, text: usize, fields: usize) {
        self.text.shrink_to(text);
        self.list.shrink_to(fields);
    }

    /// The bytes of a span of this head.
    pub fn text(&self, span: Span) -> &[u8] {
        self.text.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    /// All bytes that the spans of this head are of.
    pub fn whole_text(&self) -> &[u8] {
        &self.text
    }

    /// Appends bytes that fields or a start line will point into.
    pub fn append(&mut self, bytes: &[u8]) -> Span {
        let start = self.text.len();
        self.text.extend_from_slice(bytes);
        Span::new(start, self.text.len())
    }

    /// Appends a field whose name and value are, or will be, in the text.
    pub fn push_field(&mut self, field: Field) {
        self.seen |= field.known.bit();
        self.list.push(field);
    }

    /// Appends a field.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let known = Name::of(name);
        let name = self.append(name);
        let value = self.append(value);
        self.push_field(Field { known, is_plain: false, name, value });
    }

    /// Replaces every field of that name by one.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        self.remove(name);
        self.push(name, value);
    }

    /// Removes every field of that name, in any letter case.
    pub fn remove(&mut self, name: &[u8]) {
        let text = &self.text;
        self.list.retain(|field| !slice(text, field.name).eq_ignore_ascii_case(name));
    }

    /// Keeps the fields for which `keep(name, text of the name, text of the value)` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(Name, &[u8], &[u8]) -> bool) {
        let text = &self.text;
        self.list.retain(|field| keep(field.known, slice(text, field.name), slice(text, field.value)));
    }

    /// Fields in order.
    pub fn list(&self) -> &[Field] {
        &self.list
    }

    /// `(name, text of the name, value)` in order.
    pub fn iter(&self) -> impl Iterator<Item = (Name, &[u8], &[u8])> {
        self.list.iter().map(|field| (field.known, self.text(field.name), self.text(field.value)))
    }

    /// The first value of a known field.
    pub fn get(&self, name: Name) -> Option<&[u8]> {
        self.first(name).map(|field| self.text(field.value))
    }

    /// All values of a known field.
    pub fn all(&self, name: Name) -> impl Iterator<Item = &[u8]> {
        self.every(name).map(|field| self.text(field.value))
    }

    /// Whether there may be a known field of that name: there was one.
    pub fn may_have(&self, name: Name) -> bool {
        self.seen & name.bit() != 0
    }

    /// The known field of a name that may be there once.
    ///
    /// # Errors
    /// [`Repeated`] when it is there more often.
    pub fn single(&self, name: Name) -> Result<Option<&Field>, Repeated> {
        let mut single = None;
        for field in self.every(name) {
            if single.replace(field).is_some() {
                return Err(Repeated);
            }
        }
        Ok(single)
    }

    /// Its value.
    ///
    /// # Errors
    /// [`Repeated`] when it is there more often.
    pub fn single_value(&self, name: Name) -> Result<Option<&[u8]>, Repeated> {
        self.single(name).map(|field| field.map(|field| self.text(field.value)))
    }

    /// The first known field of that name.
    pub fn first(&self, name: Name) -> Option<&Field> {
        self.every(name).next()
    }

    /// All known fields of that name.
    pub fn every(&self, name: Name) -> impl Iterator<Item = &Field> {
        let list = if self.may_have(name) { &self.list[..] } else { &[][..] };
        list.iter().filter(move |field| field.known == name)
    }

    /// The first value of any field, by its name in any letter case.
    pub fn find(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter().find(|(_, text, _)| text.eq_ignore_ascii_case(name)).map(|(_, _, value)| value)
    }
}

fn slice(text: &[u8], span: Span) -> &[u8] {
    text.get(span.start as usize..span.end as usize).unwrap_or_default()
}

/// The comma-separated items of a list value, without white space and without empty items
/// (RFC 9110 §5.6.1).
pub fn items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Fields {
        let mut fields = Fields::default();
        fields.push(b"Host", b"a.example");
        fields.push(b"X-A", b"1");
        fields.push(b"x-a", b"2");
        fields
    }

    #[test]
    fn a_value_is_found_by_its_name_in_any_case() {
        let fields = sample();
        assert_eq!(fields.get(Name::Host), Some(&b"a.example"[..]));
        assert_eq!(fields.find(b"X-a"), Some(&b"1"[..]));
        assert_eq!(fields.find(b"x-b"), None);
    }

    #[test]
    fn setting_a_field_replaces_all_of_that_name() {
        let mut fields = sample();
        fields.set(b"x-A", b"3");
        let left: Vec<_> = fields.iter().map(|(_, name, value)| (name.to_vec(), value.to_vec())).collect();
        assert_eq!(left, [(b"Host".to_vec(), b"a.example".to_vec()), (b"x-A".to_vec(), b"3".to_vec())]);
    }

    #[test]
    fn list_items_have_no_outer_space_and_none_is_empty() {
        let found: Vec<_> = items(b" close ,, X-Hop\t").collect();
        assert_eq!(found, [&b"close"[..], b"X-Hop"]);
    }
}
