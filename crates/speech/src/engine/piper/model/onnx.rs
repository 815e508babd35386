//! The file of a network, as `onnx.proto3` of ONNX 1.20 has it.
//!
//! Only what the program looks at or changes has a type. The rest is kept as
//! bytes, and written as it was read, but for what running a network does not need:
//! the producer's name, documentation, metadata, how it was trained.

use bytes::Bytes;
use prost::Message;

/// What a tensor is of (`TensorProto.DataType`).
const FLOAT: i32 = 1;
const INT64: i32 = 7;

/// What an attribute is (`AttributeProto.AttributeType`).
const ONE_NUMBER: i32 = 2;
const NUMBERS: i32 = 7;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Model {
    #[prost(int64, optional, tag = "1")]
    pub format_version: Option<i64>,
    #[prost(message, optional, tag = "7")]
    pub graph: Option<Graph>,
    #[prost(message, repeated, tag = "8")]
    pub operators: Vec<Operators>,
    #[prost(bytes = "bytes", repeated, tag = "25")]
    pub functions: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "26")]
    pub configuration: Vec<Bytes>,
}

impl Model {
    /// The version of ONNX's own operators; 0 where it is not said.
    pub(super) fn operators_version(&self) -> i64 {
        let own = self.operators.iter().find(|set| set.domain().is_empty());
        own.map_or(0, Operators::version)
    }
}

/// A set of operators in one of its versions (`OperatorSetIdProto`).
#[derive(Clone, PartialEq, Message)]
pub(super) struct Operators {
    #[prost(string, optional, tag = "1")]
    pub domain: Option<String>,
    #[prost(int64, optional, tag = "2")]
    pub version: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Graph {
    /// Each comes after those whose outputs it takes.
    #[prost(message, repeated, tag = "1")]
    pub nodes: Vec<Node>,
    #[prost(string, optional, tag = "2")]
    pub name: Option<String>,
    /// The values that are in the file.
    #[prost(message, repeated, tag = "5")]
    pub initializers: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    pub inputs: Vec<Value>,
    #[prost(message, repeated, tag = "12")]
    pub outputs: Vec<Value>,
    /// What is known of the values between inputs and outputs.
    #[prost(message, repeated, tag = "13")]
    pub values: Vec<Value>,
    #[prost(bytes = "bytes", repeated, tag = "14")]
    pub quantization: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "15")]
    pub sparse_initializers: Vec<Bytes>,
}

impl Graph {
    pub(super) fn makes(&self, value: &str) -> bool {
        let mut outputs = self.nodes.iter().flat_map(|node| &node.outputs);
        outputs.any(|output| output == value)
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Node {
    #[prost(string, repeated, tag = "1")]
    pub inputs: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub outputs: Vec<String>,
    #[prost(string, optional, tag = "3")]
    pub name: Option<String>,
    #[prost(string, optional, tag = "4")]
    pub operator: Option<String>,
    #[prost(message, repeated, tag = "5")]
    pub attributes: Vec<Attribute>,
    #[prost(string, optional, tag = "7")]
    pub domain: Option<String>,
    #[prost(string, optional, tag = "8")]
    pub overload: Option<String>,
    #[prost(bytes = "bytes", repeated, tag = "10")]
    pub devices: Vec<Bytes>,
}

impl Node {
    /// One of ONNX's own operators.
    pub(super) fn new(operator: &str, inputs: &[&str], output: &str) -> Self {
        Self {
            inputs: inputs.iter().copied().map(str::to_owned).collect(),
            outputs: vec![output.to_owned()],
            name: Some(format!("{output}/{operator}")),
            operator: Some(operator.to_owned()),
            ..Self::default()
        }
    }

    /// Whether it runs steps of its own.
    pub(super) fn has_graphs(&self) -> bool {
        let mut attributes = self.attributes.iter();
        attributes.any(|there| there.graph.is_some() || !there.graphs.is_empty())
    }

    pub(super) fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|there| there.name() == name)
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Attribute {
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    #[prost(float, optional, tag = "2")]
    pub real: Option<f32>,
    #[prost(int64, optional, tag = "3")]
    pub number: Option<i64>,
    #[prost(bytes = "bytes", optional, tag = "4")]
    pub text: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "5")]
    pub tensor: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "6")]
    pub graph: Option<Bytes>,
    #[prost(float, repeated, packed = "false", tag = "7")]
    pub reals: Vec<f32>,
    #[prost(int64, repeated, packed = "false", tag = "8")]
    pub numbers: Vec<i64>,
    #[prost(bytes = "bytes", repeated, tag = "9")]
    pub texts: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "10")]
    pub tensors: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "11")]
    pub graphs: Vec<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "14")]
    pub r#type: Option<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "15")]
    pub types: Vec<Bytes>,
    #[prost(int32, optional, tag = "20")]
    pub kind: Option<i32>,
    #[prost(string, optional, tag = "21")]
    pub of_function: Option<String>,
    #[prost(bytes = "bytes", optional, tag = "22")]
    pub sparse_tensor: Option<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "23")]
    pub sparse_tensors: Vec<Bytes>,
}

impl Attribute {
    pub(super) fn one(name: &str, number: i64) -> Self {
        Self {
            name: Some(name.to_owned()),
            number: Some(number),
            kind: Some(ONE_NUMBER),
            ..Self::default()
        }
    }

    pub(super) fn list(name: &str, numbers: &[i64]) -> Self {
        Self {
            name: Some(name.to_owned()),
            numbers: numbers.to_vec(),
            kind: Some(NUMBERS),
            ..Self::default()
        }
    }
}

/// The name of a value and what is known of it (`ValueInfoProto`).
#[derive(Clone, PartialEq, Message)]
pub(super) struct Value {
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    /// A `TypeProto`.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub r#type: Option<Bytes>,
}

impl Value {
    /// Of which no more is known than its name.
    pub(super) fn named(name: &str) -> Self {
        Self {
            name: Some(name.to_owned()),
            r#type: None,
        }
    }

    /// A tensor of floating-point numbers.
    pub(super) fn floats(name: &str, dimensions: Vec<Dimension>) -> Self {
        let tensor = TensorType {
            element: Some(FLOAT),
            shape: Some(Shape { dimensions }),
        };
        let r#type = Type {
            tensor: Some(tensor),
        };
        Self {
            name: Some(name.to_owned()),
            r#type: Some(r#type.encode_to_vec().into()),
        }
    }
}

#[derive(Clone, PartialEq, Message)]
struct Type {
    #[prost(message, optional, tag = "1")]
    pub tensor: Option<TensorType>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorType {
    #[prost(int32, optional, tag = "1")]
    pub element: Option<i32>,
    #[prost(message, optional, tag = "2")]
    pub shape: Option<Shape>,
}

#[derive(Clone, PartialEq, Message)]
struct Shape {
    #[prost(message, repeated, tag = "1")]
    pub dimensions: Vec<Dimension>,
}

/// How far a tensor reaches in one direction.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Dimension {
    #[prost(int64, optional, tag = "1")]
    pub number: Option<i64>,
    /// Dimensions of one name are the same, whatever the network is given.
    #[prost(string, optional, tag = "2")]
    pub name: Option<String>,
}

impl Dimension {
    pub(super) fn known(number: i64) -> Self {
        Self {
            number: Some(number),
            name: None,
        }
    }

    pub(super) fn called(name: String) -> Self {
        Self {
            number: None,
            name: Some(name),
        }
    }
}

/// Numbers that are in the file.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Tensor {
    #[prost(int64, repeated, packed = "false", tag = "1")]
    pub dimensions: Vec<i64>,
    #[prost(int32, optional, tag = "2")]
    pub element: Option<i32>,
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub segment: Option<Bytes>,
    #[prost(float, repeated, tag = "4")]
    pub reals: Vec<f32>,
    #[prost(int32, repeated, tag = "5")]
    pub small_numbers: Vec<i32>,
    #[prost(bytes = "bytes", repeated, tag = "6")]
    pub texts: Vec<Bytes>,
    #[prost(int64, repeated, tag = "7")]
    pub numbers: Vec<i64>,
    #[prost(string, optional, tag = "8")]
    pub name: Option<String>,
    /// Little-endian; in place of the fields for single types.
    #[prost(bytes = "bytes", optional, tag = "9")]
    pub raw: Option<Bytes>,
    #[prost(double, repeated, tag = "10")]
    pub long_reals: Vec<f64>,
    #[prost(uint64, repeated, tag = "11")]
    pub positive_numbers: Vec<u64>,
    #[prost(bytes = "bytes", repeated, tag = "13")]
    pub elsewhere: Vec<Bytes>,
    #[prost(int32, optional, tag = "14")]
    pub location: Option<i32>,
}

impl Tensor {
    /// These numbers in this shape, in which there must be so many places.
    pub(super) fn floats(
        name: &str,
        dimensions: &[i64],
        numbers: impl Iterator<Item = f32>,
    ) -> Self {
        let raw: Vec<u8> = numbers.flat_map(f32::to_le_bytes).collect();
        Self {
            dimensions: dimensions.to_vec(),
            element: Some(FLOAT),
            name: Some(name.to_owned()),
            raw: Some(raw.into()),
            ..Self::default()
        }
    }

    /// A list of whole numbers.
    pub(super) fn list(name: &str, numbers: &[i64]) -> Self {
        Self {
            dimensions: vec![numbers.len() as i64],
            element: Some(INT64),
            numbers: numbers.to_vec(),
            name: Some(name.to_owned()),
            ..Self::default()
        }
    }

    /// Whether it is of 32-bit floating-point numbers, one for each place of
    /// its shape, and at least one.
    pub(super) fn is_of_floats(&self) -> bool {
        let multiply = |places: i64, length: &i64| match length {
            1.. => places.checked_mul(*length),
            _ => None,
        };
        let places = self.dimensions.iter().try_fold(1, multiply);
        let bytes = places.and_then(|places| places.checked_mul(size_of::<f32>() as i64));
        let there = self.raw.as_ref().map(|raw| raw.len() as i64);
        self.element == Some(FLOAT) && bytes.is_some() && bytes == there
    }

    /// Its only number, if it is of one alone.
    pub(super) fn only(&self) -> Option<f32> {
        let bytes = self.raw.as_ref().filter(|_| self.is_of_floats())?;
        Some(f32::from_le_bytes(bytes.as_ref().try_into().ok()?))
    }
}
