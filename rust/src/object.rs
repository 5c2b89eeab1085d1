//! What is in a file besides arrays: groups, their members, attributes.

use crate::element::ElementType;

/// What an object is, or what a link leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It has members.
    Group,
    /// It has values.
    Dataset,
    /// A named datatype, or something else without values.
    Other,
    /// A link to another file, which is not followed.
    External,
    /// A link to something that is not there.
    Dangling,
    /// Something that libhdf5 cannot make sense of.
    Unreadable,
}

impl Kind {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::Dataset => "dataset",
            Self::Other => "other",
            Self::External => "external link",
            Self::Dangling => "dangling link",
            Self::Unreadable => "unreadable",
        }
    }
}

/// An object of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// What it is.
    pub kind: Kind,
    /// Equal for two paths to one object of a file: its token, which is its address.
    pub identity: Vec<u8>,
    /// Extents of a dataset; `None` for other objects and for datasets without a dataspace.
    pub shape: Option<Vec<u64>>,
    /// A virtual dataset, whose extents are those that its own file states; its sources may have grown.
    pub is_virtual: bool,
    /// Element type of a dataset, if it has an equivalent here.
    pub element: Option<ElementType>,
    /// Members of the compounds that a dataset holds; empty for other element types.
    pub fields: Vec<Field>,
    /// Why a dataset has no element type, or an object cannot be read; else empty.
    pub note: String,
}

impl Object {
    /// Something of which no more than this is known.
    pub(crate) fn of(kind: Kind, note: String) -> Self {
        Self {
            kind,
            identity: Vec::new(),
            shape: None,
            is_virtual: false,
            element: None,
            fields: Vec::new(),
            note,
        }
    }
}

/// A member of compound values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: Vec<u8>,
    /// Its element type, if that has an equivalent here.
    pub element: Option<ElementType>,
}

/// A member of a group: a name, and the object that it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name in the group.
    pub name: Vec<u8>,
    /// The object.
    pub object: Object,
}

/// An attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Its name.
    pub name: Vec<u8>,
    /// Extents; none for a single value.
    pub shape: Vec<u64>,
    /// Its values, in C order.
    pub values: Values,
}

/// The values of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Values {
    /// Numbers, as bytes.
    Numbers(ElementType, Vec<u8>),
    /// Strings, of fixed or variable length.
    Strings(Vec<Vec<u8>>),
    /// References to objects: for each element the names of those that are there.
    References(Vec<Vec<Vec<u8>>>),
    /// Something else; why it has no equivalent here.
    Other(String),
}
