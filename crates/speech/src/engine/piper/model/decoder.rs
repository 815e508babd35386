//! The decoder of a network, rewritten so that ONNX Runtime is fast at it.
//!
//! The decoder, which makes sound of frames, takes two thirds of the time, almost
//! all of it in convolutions over time. ONNX Runtime has a fast way of doing them
//! (values in blocks of channels, `NCHWc`), but for convolutions in two dimensions
//! alone. So values get a second dimension in which they are 1 long, and the steps
//! between convolutions become such that values stay in blocks:
//!
//! - Dividing all channels by a number becomes a depthwise convolution one sample
//!   wide, which takes blocks.
//! - Such a convolution by 1 is put where blocks are to begin, and before an
//!   activation whose input other steps need too, so that it has a convolution of
//!   its own to be fused with.
//! - A sum is fused with the convolution before it only where both sides are known
//!   to be of one length, and ONNX Runtime does not see that a dilated convolution
//!   keeps it. So lengths get names.
//!
//! The same numbers are multiplied and added, so the sound is the same but for
//! rounding.

use std::collections::{BTreeMap, HashMap};
use std::mem;

use super::onnx::{Attribute, Dimension, Graph, Node, Tensor, Value};

/// What the names of the decoder's steps begin with: its name in Piper's code.
const DECODER: &str = "/dec/";

/// The first version of the operators in which `Unsqueeze` takes its axes as an
/// input.
pub(super) const OPERATORS_VERSION: i64 = 13;

/// The list of the one axis that is put in.
const AXIS: &str = "hoiam/axis";

/// Rewrites what can be in a graph of the operators of [`OPERATORS_VERSION`] or
/// later, and leaves the rest.
pub(super) fn widen(graph: &mut Graph) {
    if graph.nodes.iter().any(Node::has_graphs) {
        // What those take is not looked into; no voice has one.
        return;
    }
    let inputs = graph.nodes.iter().flat_map(|node| &node.inputs);
    let outputs = graph.outputs.iter().map(Value::name);
    let mut uses = HashMap::new();
    for name in inputs.map(String::as_str).chain(outputs) {
        *uses.entry(name.to_owned()).or_default() += 1;
    }
    let tensors = mem::take(&mut graph.initializers).into_iter();
    let mut widening = Widening {
        uses,
        tensors: tensors
            .map(|tensor| (tensor.name().to_owned(), tensor))
            .collect(),
        ..Widening::default()
    };
    widening.keep(Tensor::list(AXIS, &[2]));
    for node in mem::take(&mut graph.nodes) {
        let is_ours = node.name().starts_with(DECODER) && node.domain().is_empty();
        if !is_ours || widening.rewrite(&node).is_none() {
            widening.leave(node);
        }
    }
    for output in &graph.outputs {
        widening.narrow(output.name());
    }
    graph.nodes = widening.nodes;
    graph.initializers = widening.tensors.into_values().collect();
    graph.values.extend(widening.values);
}

#[derive(Default)]
struct Widening {
    /// How often a value is taken, by steps or as an output.
    uses: HashMap<String, usize>,
    tensors: BTreeMap<String, Tensor>,
    /// What came of the steps so far.
    nodes: Vec<Node>,
    values: Vec<Value>,
    /// By the names of the values that they are of.
    wide: HashMap<String, Wide>,
    /// How many lengths have names so far.
    lengths: usize,
}

/// A value with the second direction.
#[derive(Clone)]
struct Wide {
    name: String,
    channels: i64,
    /// The number in the name of its length.
    length: usize,
    /// Whether an activation can be fused with the step that makes it.
    by_convolution: bool,
    /// Whether the value is there as it was, too.
    is_narrow: bool,
}

impl Widening {
    /// Puts in its place what does the same with wide values; `None` if nothing
    /// does.
    fn rewrite(&mut self, node: &Node) -> Option<()> {
        match node.operator() {
            "Conv" | "ConvTranspose" => self.convolution(node),
            "LeakyRelu" => self.activation(node),
            "Add" => self.sum(node),
            "Div" => self.quotient(node),
            _ => None,
        }
    }

    fn leave(&mut self, node: Node) {
        for input in &node.inputs {
            self.narrow(input);
        }
        self.nodes.push(node);
    }

    fn convolution(&mut self, node: &Node) -> Option<()> {
        let ([values, weights, ..], [output]) = (&node.inputs[..], &node.outputs[..]) else {
            return None;
        };
        let is_transposed = node.operator() == "ConvTranspose";
        let window = Window::of(node)?;
        let is_shared = self.uses.get(weights) != Some(&1);
        let tensor = self.tensors.get_mut(weights)?;
        let [outer, inner, width] = tensor.dimensions[..] else {
            return None;
        };
        if is_shared || !tensor.is_of_floats() || window.groups > outer {
            return None;
        }
        tensor.dimensions = vec![outer, inner, 1, width];
        let (from, to) = if is_transposed {
            (outer, inner * window.groups)
        } else {
            (inner * window.groups, outer)
        };
        let input = self.widened(values, from);
        let length = if !is_transposed && window.keeps_length(width) {
            input.length
        } else {
            self.new_length()
        };
        let made = self.made(output, to, length, true);
        let mut inputs = node.inputs.clone();
        inputs[0] = input.name;
        if is_transposed {
            // ONNX Runtime does these without blocks, which begin behind them.
            let as_made = format!("{made}/as made");
            self.put(node, inputs, as_made.clone());
            self.scale(&as_made, &made, to, 1.0);
        } else {
            self.put(node, inputs, made);
        }
        Some(())
    }

    fn activation(&mut self, node: &Node) -> Option<()> {
        let ([input], [output]) = (&node.inputs[..], &node.outputs[..]) else {
            return None;
        };
        let wide = self.wide.get(input)?.clone();
        let made = self.made(output, wide.channels, wide.length, false);
        let input = if wide.by_convolution && self.uses.get(input) == Some(&1) {
            wide.name
        } else {
            let own = format!("{made}/of its own");
            self.scale(&wide.name, &own, wide.channels, 1.0);
            own
        };
        self.put(node, vec![input], made);
        Some(())
    }

    fn sum(&mut self, node: &Node) -> Option<()> {
        let ([one, other], [output]) = (&node.inputs[..], &node.outputs[..]) else {
            return None;
        };
        let (one, other) = (self.wide.get(one)?.clone(), self.wide.get(other)?.clone());
        if (one.channels, one.length) != (other.channels, other.length) {
            return None;
        }
        let made = self.made(output, one.channels, one.length, false);
        self.put(node, vec![one.name, other.name], made);
        Some(())
    }

    fn quotient(&mut self, node: &Node) -> Option<()> {
        let ([input, divisor], [output]) = (&node.inputs[..], &node.outputs[..]) else {
            return None;
        };
        let divisor = self.tensors.get(divisor)?.only()?;
        let wide = self.wide.get(input)?.clone();
        let made = self.made(output, wide.channels, wide.length, true);
        self.scale(&wide.name, &made, wide.channels, divisor.recip());
        Some(())
    }

    /// Puts in a step as it was, but for the values that it takes and makes.
    fn put(&mut self, node: &Node, inputs: Vec<String>, output: String) {
        let mut node = Node {
            inputs,
            outputs: vec![output],
            ..node.clone()
        };
        node.attributes.iter_mut().for_each(widen_attribute);
        self.nodes.push(node);
    }

    /// Puts in a depthwise convolution that only multiplies.
    fn scale(&mut self, input: &str, output: &str, channels: i64, by: f32) {
        let weights = format!("hoiam/{channels} times {by}");
        let all = (0..channels).map(|_| by);
        self.keep(Tensor::floats(&weights, &[channels, 1, 1, 1], all));
        let mut node = Node::new("Conv", &[input, &weights], output);
        node.attributes = vec![
            Attribute::one("group", channels),
            Attribute::list("kernel_shape", &[1, 1]),
        ];
        self.nodes.push(node);
    }

    fn keep(&mut self, tensor: Tensor) {
        self.tensors.insert(tensor.name().to_owned(), tensor);
    }

    /// Tells of a value that is made wide, and answers its name.
    fn made(&mut self, value: &str, channels: i64, length: usize, by_convolution: bool) -> String {
        let name = format!("{value}/wide");
        let dimensions = vec![
            Dimension::known(1),
            Dimension::known(channels),
            Dimension::known(1),
            Dimension::called(format!("hoiam/length {length}")),
        ];
        self.values.push(Value::floats(&name, dimensions));
        let wide = Wide {
            name: name.clone(),
            channels,
            length,
            by_convolution,
            is_narrow: false,
        };
        self.wide.insert(value.to_owned(), wide);
        name
    }

    /// A value as a convolution takes it, which knows how many channels it has.
    fn widened(&mut self, value: &str, channels: i64) -> Wide {
        if let Some(wide) = self.wide.get(value) {
            return wide.clone();
        }
        let wide = Wide {
            name: format!("{value}/wide"),
            channels,
            length: self.new_length(),
            by_convolution: false,
            is_narrow: true,
        };
        let node = Node::new("Unsqueeze", &[value, AXIS], &wide.name);
        self.nodes.push(node);
        self.wide.insert(value.to_owned(), wide.clone());
        wide
    }

    /// Sees to it that a value is there as it was.
    fn narrow(&mut self, value: &str) {
        let wide = self.wide.get_mut(value).filter(|wide| !wide.is_narrow);
        if let Some(wide) = wide {
            wide.is_narrow = true;
            let node = Node::new("Squeeze", &[&wide.name, AXIS], value);
            self.nodes.push(node);
        }
    }

    fn new_length(&mut self) -> usize {
        self.lengths += 1;
        self.lengths
    }
}

/// How a convolution goes over its input.
struct Window {
    groups: i64,
    stride: i64,
    dilation: i64,
    /// How much is put before and behind, together.
    padding: i64,
}

impl Window {
    /// `None` where it is not one over time, or depends on the length.
    fn of(node: &Node) -> Option<Self> {
        let only = |name, otherwise| match node.attribute(name).map(|there| &there.numbers[..]) {
            None => Some(otherwise),
            Some(&[number]) => Some(number),
            Some(_) => None,
        };
        let padding = match node.attribute("pads").map(|there| &there.numbers[..]) {
            None => 0,
            Some(&[before, behind]) => before.saturating_add(behind),
            Some(_) => return None,
        };
        let depends = |name| node.attribute(name).is_some();
        if depends("auto_pad") || depends("output_shape") {
            return None;
        }
        only("kernel_shape", 1)?;
        only("output_padding", 0)?;
        let groups = node.attribute("group").map_or(1, Attribute::number);
        Some(Self {
            groups: (groups > 0).then_some(groups)?,
            stride: only("strides", 1)?,
            dilation: only("dilations", 1)?,
            padding,
        })
    }

    fn keeps_length(&self, width: i64) -> bool {
        self.stride == 1 && self.padding == self.dilation.saturating_mul(width - 1)
    }
}

/// One dimension's numbers become those of two; [`Window::of`] has seen them.
fn widen_attribute(attribute: &mut Attribute) {
    attribute.numbers = match (attribute.name(), &attribute.numbers[..]) {
        ("kernel_shape" | "strides" | "dilations", &[number]) => vec![1, number],
        ("output_padding", &[number]) => vec![0, number],
        ("pads", &[before, behind]) => vec![0, before, 0, behind],
        _ => return,
    };
}

#[cfg(test)]
mod tests;
