//! Small decoders of every kind, run by ONNX Runtime as they are and rewritten.

use std::collections::HashSet;

use proptest::prelude::*;

use super::super::libonnxruntime::{Input, LibOnnxRuntime, Numbers};
use super::super::onnx::{Model, Operators};
use super::super::tests::library;
use super::*;
use prost::Message;

const CHANNELS: i64 = 16;

/// A step, and which of the values so far it takes.
#[derive(Clone, Debug)]
enum Step {
    Convolution {
        of: usize,
        channels: i64,
        groups: i64,
        width: i64,
        dilation: i64,
        stride: i64,
        is_padded: bool,
        has_bias: bool,
    },
    /// With the weights of the convolution before.
    Again {
        of: usize,
    },
    Transposed {
        of: usize,
        groups: i64,
        width: i64,
        dilation: i64,
        stride: i64,
        is_longer: bool,
    },
    Plain {
        of: usize,
        operator: &'static str,
    },
    Elsewhere {
        of: usize,
    },
    Quotient {
        of: usize,
    },
    Sum {
        one: usize,
        other: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let of = || any::<usize>();
    let convolution = (
        of(),
        prop::sample::select(vec![1, 8, CHANNELS, 32]),
        prop::sample::select(vec![1, 1, 1, 8]),
        prop::sample::select(vec![1, 3, 5]),
        1..4_i64,
        prop::sample::select(vec![1, 1, 1, 2]),
        prop::bool::weighted(0.8),
        any::<bool>(),
    );
    let transposed = (
        of(),
        prop::sample::select(vec![1, 8]),
        2..5_i64,
        1..3_i64,
        1..4_i64,
        any::<bool>(),
    );
    prop_oneof![
        4 => convolution.prop_map(
            |(of, channels, groups, width, dilation, stride, is_padded, has_bias)| Step::Convolution {
                of, channels, groups, width, dilation, stride, is_padded, has_bias,
            }
        ),
        1 => of().prop_map(|of| Step::Again { of }),
        1 => transposed.prop_map(|(of, groups, width, dilation, stride, is_longer)| {
            Step::Transposed { of, groups, width, dilation, stride, is_longer }
        }),
        4 => of().prop_map(|of| Step::Plain { of, operator: "LeakyRelu" }),
        1 => of().prop_map(|of| Step::Plain { of, operator: "Tanh" }),
        1 => of().prop_map(|of| Step::Elsewhere { of }),
        1 => of().prop_map(|of| Step::Quotient { of }),
        4 => (of(), of()).prop_map(|(one, other)| Step::Sum { one, other }),
    ]
}

/// A value of the graph that is made, with its shape.
#[derive(Clone)]
struct Built {
    name: String,
    channels: i64,
    length: i64,
}

/// A graph of these steps, as far as shapes allow them.
struct Decoder {
    graph: Graph,
    values: Vec<Built>,
    last_weights: Option<(String, [i64; 3])>,
}

impl Decoder {
    fn of(steps: &[Step], length: i64) -> Self {
        let [one, channels] = [1, CHANNELS].map(Dimension::known);
        let shape = vec![one, channels, Dimension::called("length".to_owned())];
        let graph = Graph {
            name: Some("decoder".to_owned()),
            inputs: vec![Value::floats("x", shape)],
            initializers: vec![Tensor::floats("three", &[], std::iter::once(3.0))],
            ..Graph::default()
        };
        let first = Built {
            name: "x".to_owned(),
            channels: CHANNELS,
            length,
        };
        let mut decoder = Self {
            graph,
            values: vec![first],
            last_weights: None,
        };
        steps.iter().for_each(|step| decoder.add(step));
        // What no step takes comes out.
        let taken: HashSet<_> = decoder
            .graph
            .nodes
            .iter()
            .flat_map(|node| &node.inputs)
            .collect();
        let ends = decoder.values[1..]
            .iter()
            .filter(|value| !taken.contains(&value.name));
        decoder.graph.outputs = ends.map(|value| Value::named(&value.name)).collect();
        // And one that is taken, which has to be there as it was.
        if let Some(within) = decoder.values.get(decoder.values.len() / 2)
            && within.name != "x"
            && taken.contains(&within.name)
        {
            decoder.graph.outputs.push(Value::named(&within.name));
        }
        decoder
    }

    fn value(&self, at: usize) -> Built {
        self.values[at % self.values.len()].clone()
    }

    fn add(&mut self, step: &Step) {
        match *step {
            Step::Convolution {
                of,
                channels,
                groups,
                width,
                dilation,
                stride,
                is_padded,
                has_bias,
            } => {
                let input = self.value(of);
                let reach = dilation * (width - 1);
                let groups = if input.channels % groups == 0 && channels % groups == 0 {
                    groups
                } else {
                    1
                };
                if !is_padded && input.length <= reach {
                    return;
                }
                let shape = [channels, input.channels / groups, width];
                let mut inputs = vec![input.name.clone(), self.numbers(&shape)];
                self.last_weights = (groups == 1).then(|| (inputs[1].clone(), shape));
                if has_bias {
                    inputs.push(self.numbers(&[channels]));
                }
                let mut attributes = vec![
                    Attribute::one("group", groups),
                    Attribute::list("dilations", &[dilation]),
                    Attribute::list("strides", &[stride]),
                    Attribute::list("kernel_shape", &[width]),
                ];
                if is_padded {
                    attributes.push(Attribute::list("pads", &[reach / 2, reach - reach / 2]));
                }
                let unpadded = input.length - if is_padded { 0 } else { reach };
                let length = (unpadded - 1) / stride + 1;
                self.push("Conv", inputs, attributes, channels, length);
            }
            Step::Again { of } => {
                let input = self.value(of);
                let Some((weights, [channels, inner, width])) = self.last_weights.clone() else {
                    return;
                };
                if inner == input.channels && input.length >= width {
                    let length = input.length - width + 1;
                    self.push("Conv", vec![input.name, weights], vec![], channels, length);
                }
            }
            Step::Transposed {
                of,
                groups,
                width,
                dilation,
                stride,
                is_longer,
            } => {
                let input = self.value(of);
                if input.length > 200 {
                    return;
                }
                let groups = if input.channels % groups == 0 {
                    groups
                } else {
                    1
                };
                let more = i64::from(is_longer && stride > 1);
                let weights = self.numbers(&[input.channels, CHANNELS / groups, width]);
                let attributes = vec![
                    Attribute::one("group", groups),
                    Attribute::list("dilations", &[dilation]),
                    Attribute::list("strides", &[stride]),
                    Attribute::list("pads", &[1, 0]),
                    Attribute::list("output_padding", &[more]),
                ];
                let length = (input.length - 1) * stride + dilation * (width - 1) + more;
                let inputs = vec![input.name, weights];
                self.push("ConvTranspose", inputs, attributes, CHANNELS, length);
            }
            Step::Plain { of, operator } => {
                let input = self.value(of);
                self.push(
                    operator,
                    vec![input.name],
                    vec![],
                    input.channels,
                    input.length,
                );
            }
            Step::Elsewhere { of } => {
                let input = self.value(of);
                self.push(
                    "LeakyRelu",
                    vec![input.name],
                    vec![],
                    input.channels,
                    input.length,
                );
                if let Some(node) = self.graph.nodes.last_mut() {
                    node.name = node.name.take().map(|name| name.replace("/dec/", "/flow/"));
                }
            }
            Step::Quotient { of } => {
                let input = self.value(of);
                let inputs = vec![input.name, "three".to_owned()];
                self.push("Div", inputs, vec![], input.channels, input.length);
            }
            Step::Sum { one, other } => {
                let one = self.value(one);
                // One sample is added to all.
                let like = |value: &&Built| {
                    value.channels == one.channels && [1, one.length].contains(&value.length)
                };
                let all: Vec<&Built> = self.values.iter().filter(like).collect();
                let other = all[other % all.len()].clone();
                self.push(
                    "Add",
                    vec![one.name, other.name],
                    vec![],
                    one.channels,
                    one.length,
                );
            }
        }
    }

    fn push(
        &mut self,
        operator: &str,
        inputs: Vec<String>,
        attributes: Vec<Attribute>,
        channels: i64,
        length: i64,
    ) {
        let name = format!("/dec/{}", self.values.len());
        let mut node = Node::new(operator, &[], &name);
        node.inputs = inputs;
        node.attributes = attributes;
        self.graph.nodes.push(node);
        self.values.push(Built {
            name,
            channels,
            length,
        });
    }

    /// Numbers around zero, small enough that sums stay near 1.
    fn numbers(&mut self, shape: &[i64]) -> String {
        let name = format!("numbers {}", self.graph.initializers.len());
        let seed = self.graph.initializers.len() as f32;
        let count = shape.iter().product::<i64>();
        let numbers = (0..count).map(|at| (at as f32 * 0.7 + seed).sin() * 0.1);
        self.graph
            .initializers
            .push(Tensor::floats(&name, shape, numbers));
        name
    }
}

/// What the graph makes of the same numbers.
fn run(library: &'static LibOnnxRuntime, graph: Graph, length: i64) -> Vec<Vec<f32>> {
    let outputs: Vec<String> = graph
        .outputs
        .iter()
        .map(|value| value.name().to_owned())
        .collect();
    let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
    let model = Model {
        format_version: Some(8),
        graph: Some(graph),
        operators: vec![Operators {
            domain: None,
            version: Some(15),
        }],
        ..Model::default()
    };
    let session = library.session(&model.encode_to_vec(), 1).unwrap();
    let numbers: Vec<f32> = (0..CHANNELS * length)
        .map(|at| (at as f32 * 0.3).sin())
        .collect();
    let input = Input {
        name: "x",
        shape: &[1, CHANNELS, length],
        numbers: Numbers::Real(&numbers),
    };
    session.run(&[input], &outputs).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_rewritten_decoder_makes_the_same(
        steps in prop::collection::vec(step(), 1..25),
        length in 1..12_i64,
    ) {
        let Some(library) = library() else { return Ok(()) };
        let decoder = Decoder::of(&steps, length);
        prop_assume!(!decoder.graph.outputs.is_empty());
        let mut wide = decoder.graph.clone();
        widen(&mut wide);
        let one = run(library, decoder.graph, length);
        let other = run(library, wide, length);
        for (one, other) in one.iter().zip(&other) {
            prop_assert_eq!(one.len(), other.len());
            for (one, other) in one.iter().zip(other) {
                prop_assert!((one - other).abs() <= 1e-4 * one.abs().max(1.0), "{one} {other}");
            }
        }
    }
}

#[test]
fn convolutions_over_time_become_two_dimensional_unless_their_weights_are_shared() {
    let convolution = |of| Step::Convolution {
        of,
        channels: CHANNELS,
        groups: 1,
        width: 3,
        dilation: 2,
        stride: 1,
        is_padded: true,
        has_bias: true,
    };
    let steps = [
        convolution(0),
        Step::Plain {
            of: 1,
            operator: "LeakyRelu",
        },
        convolution(2),
        Step::Sum { one: 1, other: 3 },
        convolution(0),
        Step::Again { of: 0 },
        Step::Elsewhere { of: 1 },
    ];
    let mut graph = Decoder::of(&steps, 20).graph;
    widen(&mut graph);
    let windows = graph
        .nodes
        .iter()
        .filter_map(|node| node.attribute("kernel_shape"));
    let windows: Vec<&[i64]> = windows.map(|there| &there.numbers[..]).collect();
    // The one that is 1 wide is what the activation is fused with.
    assert_eq!(windows, [&[1, 3][..], &[1, 1], &[1, 3], &[3]]);
    // What is not the decoder's takes values as they were.
    let elsewhere = |node: &&Node| node.name().starts_with("/flow/");
    let elsewhere = graph.nodes.iter().find(elsewhere).unwrap();
    assert_eq!(elsewhere.inputs, ["/dec/1"]);
}
