//! Runs a parsed template. The order of evaluation and the place that an error names follow Go's executor.

use std::sync::Arc;

use model::Timestamp;

use super::ast::{Branch, Node, Number, Operand, OperandKind, Pipe, show_command};
use super::functions::{self, Signature};
use super::parse::Definitions;
use super::value::{Type, Value};
use super::{ExternalInfo, TemplateError, TemplateQuery};

/// Longest output, and longest string on the way.
const BYTES_MAX: usize = 1 << 20;
/// Statements and operands evaluated.
const STEPS_MAX: u64 = 1_000_000;
/// Nesting of blocks, pipelines and template calls together while running.
const DEPTH_MAX: usize = 200;

/// The template as written and as parsed.
pub(super) struct Source<'t> {
    pub(super) name: &'t str,
    pub(super) text: &'t str,
    pub(super) definitions: &'t Definitions,
}

/// What functions may ask.
pub(super) struct Environment<'e> {
    pub(super) external: &'e ExternalInfo,
    pub(super) now: Timestamp,
    pub(super) query: &'e mut dyn TemplateQuery,
}

pub(super) fn run(
    source: &Source<'_>,
    data: Value,
    env: Environment<'_>,
) -> Result<String, TemplateError> {
    let mut state = State {
        source,
        env,
        template: source.name,
        at: At::Start,
        variables: vec![("$", data.clone())],
        out: String::new(),
        steps: 0,
        depth: 0,
    };
    if let Some(nodes) = source.definitions.get(source.name) {
        state.list(&data, nodes)?;
    }
    Ok(state.out)
}

/// The node an error would name.
#[derive(Clone, Copy)]
enum At<'t> {
    Start,
    Operand(&'t Operand),
    Pipe(&'t Pipe),
    Command(&'t [Operand]),
    Call {
        pos: usize,
        name: &'t str,
        pipe: Option<&'t Pipe>,
    },
}

struct State<'t, 'e> {
    source: &'t Source<'t>,
    env: Environment<'e>,
    /// The defined template that runs.
    template: &'t str,
    at: At<'t>,
    variables: Vec<(&'t str, Value)>,
    out: String,
    steps: u64,
    depth: usize,
}

/// What a list of nodes ended with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Normal,
    Break,
    Continue,
}

type Run<T> = Result<T, TemplateError>;

impl<'t> State<'t, '_> {
    fn fail<T>(&self, message: impl Into<String>) -> Run<T> {
        let (pos, node) = match self.at {
            At::Start => (0, String::new()),
            At::Operand(o) => (o.pos, o.to_string()),
            At::Pipe(p) => (p.pos, p.to_string()),
            At::Command(c) => (c.first().map_or(0, |o| o.pos), show_command(c)),
            At::Call {
                pos,
                name,
                pipe: Some(pipe),
            } => (pos, format!("{{{{template {name:?} {pipe}}}}}")),
            At::Call {
                pos,
                name,
                pipe: None,
            } => (pos, format!("{{{{template {name:?}}}}}")),
        };
        let before = &self.source.text[..pos.min(self.source.text.len())];
        let line = 1 + before.matches('\n').count();
        let column = before.rfind('\n').map_or(pos, |newline| pos - newline - 1);
        Err(TemplateError::Execute {
            place: format!("{}:{line}:{column}", self.source.name),
            template: self.template.to_owned(),
            node,
            message: message.into(),
        })
    }

    fn bound<T>(&self, message: String) -> Run<T> {
        Err(TemplateError::Bound {
            name: self.source.name.to_owned(),
            message,
        })
    }

    fn step(&mut self) -> Run<()> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return self.bound(format!("more than {STEPS_MAX} steps"));
        }
        Ok(())
    }

    fn deeper<T>(&mut self, f: impl FnOnce(&mut Self) -> Run<T>) -> Run<T> {
        if self.depth >= DEPTH_MAX {
            return self.bound(format!("exceeded maximum template depth ({DEPTH_MAX})"));
        }
        self.depth += 1;
        let out = f(self);
        self.depth -= 1;
        out
    }

    fn write(&mut self, text: &str) -> Run<()> {
        if self.out.len() + text.len() > BYTES_MAX {
            return self.bound(format!("more than {BYTES_MAX} bytes of output"));
        }
        self.out.push_str(text);
        Ok(())
    }

    fn list(&mut self, dot: &Value, nodes: &'t [Node]) -> Run<Flow> {
        self.deeper(|s| {
            for node in nodes {
                s.step()?;
                let flow = s.node(dot, node)?;
                if flow != Flow::Normal {
                    return Ok(flow);
                }
            }
            Ok(Flow::Normal)
        })
    }

    fn node(&mut self, dot: &Value, node: &'t Node) -> Run<Flow> {
        match node {
            Node::Text(text) => self.write(text)?,
            Node::Action(pipe) => {
                let value = self.pipeline(dot, pipe)?;
                if pipe.variables.is_empty() {
                    self.write(&value.print())?;
                }
            }
            Node::If(branch) => return self.if_or_with(dot, branch, false),
            Node::With(branch) => return self.if_or_with(dot, branch, true),
            Node::Range(branch) => return self.range(dot, branch),
            Node::Template { pos, name, pipe } => {
                self.call_template(dot, *pos, name, pipe.as_ref())?
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Normal)
    }

    fn if_or_with(&mut self, dot: &Value, branch: &'t Branch, with: bool) -> Run<Flow> {
        let mark = self.variables.len();
        let value = self.pipeline(dot, &branch.pipe)?;
        let flow = match (value.truth(), with) {
            (true, true) => self.list(&value, &branch.then),
            (true, false) => self.list(dot, &branch.then),
            (false, _) => self.list(dot, &branch.otherwise),
        }?;
        self.variables.truncate(mark);
        Ok(flow)
    }

    fn range(&mut self, dot: &Value, branch: &'t Branch) -> Run<Flow> {
        let mark = self.variables.len();
        let over = self.pipeline(dot, &branch.pipe)?;
        let key = |k: &String| Value::string(k.as_str());
        let mut pairs: Box<dyn Iterator<Item = (Value, Value)>> = match &over {
            Value::Samples(samples) => Box::new(
                samples
                    .iter()
                    .enumerate()
                    .map(|(i, s)| (int(i), Value::Sample(Arc::clone(s)))),
            ),
            Value::Labels(m) => {
                Box::new(m.iter().map(|(k, v)| (key(k), Value::string(v.as_str()))))
            }
            Value::Map(m) => Box::new(m.entries.iter().map(|(k, v)| (key(k), v.clone()))),
            Value::Int(n) => Box::new((0..*n).map(|i| (Value::Int(i), Value::Int(i)))),
            Value::Nil => Box::new(std::iter::empty()),
            other => return self.fail(format!("range can't iterate over {}", other.format_v())),
        };
        let mut any = false;
        let inner = self.variables.len();
        for (index, element) in &mut pairs {
            any = true;
            self.set_range_variables(&branch.pipe, index, &element)?;
            let flow = self.list(&element, &branch.then)?;
            self.variables.truncate(inner);
            self.step()?;
            if flow == Flow::Break {
                break;
            }
        }
        let flow = if any {
            Flow::Normal
        } else {
            self.list(dot, &branch.otherwise)?
        };
        self.variables.truncate(mark);
        Ok(flow)
    }

    fn set_range_variables(&mut self, pipe: &'t Pipe, index: Value, element: &Value) -> Run<()> {
        let values = match pipe.variables.len() {
            0 => return Ok(()),
            1 => vec![element.clone()],
            _ => vec![index, element.clone()],
        };
        // The pipeline has declared them; they are the newest ones.
        let newest = self.variables.len() - if pipe.assign { 0 } else { values.len() };
        for (i, value) in values.into_iter().enumerate() {
            if pipe.assign {
                self.assign(&pipe.variables[i], value)?;
            } else {
                self.variables[newest + i].1 = value;
            }
        }
        Ok(())
    }

    fn call_template(
        &mut self,
        dot: &Value,
        pos: usize,
        name: &'t str,
        pipe: Option<&'t Pipe>,
    ) -> Run<()> {
        self.at = At::Call { pos, name, pipe };
        let source = self.source;
        let Some(body) = source.definitions.get(name) else {
            return self.fail(format!("template {name:?} not defined"));
        };
        let data = match pipe {
            Some(pipe) => self.pipeline(dot, pipe)?,
            None => Value::Nil,
        };
        let variables = std::mem::replace(&mut self.variables, vec![("$", data.clone())]);
        let template = std::mem::replace(&mut self.template, name);
        self.list(&data, body)?;
        self.variables = variables;
        self.template = template;
        Ok(())
    }

    fn assign(&mut self, name: &str, value: Value) -> Run<()> {
        match self.variables.iter_mut().rev().find(|(n, _)| *n == name) {
            Some((_, slot)) => {
                *slot = value;
                Ok(())
            }
            None => self.fail(format!("undefined variable: {name}")),
        }
    }

    fn pipeline(&mut self, dot: &Value, pipe: &'t Pipe) -> Run<Value> {
        self.deeper(|s| {
            s.at = At::Pipe(pipe);
            let mut value = None;
            for command in &pipe.commands {
                value = Some(s.command(dot, command, value)?);
            }
            let value = value.unwrap_or(Value::Nil);
            for name in &pipe.variables {
                if pipe.assign {
                    s.assign(name, value.clone())?;
                } else {
                    s.variables.push((name, value.clone()));
                }
            }
            Ok(value)
        })
    }

    /// `last` is the value of the command before, which becomes the last argument.
    fn command(&mut self, dot: &Value, words: &'t [Operand], last: Option<Value>) -> Run<Value> {
        self.step()?;
        let first = &words[0];
        match &first.kind {
            OperandKind::Field(names) => {
                self.at = At::Operand(first);
                return self.fields(dot, dot.clone(), names, words, last);
            }
            OperandKind::Chain(of, names) => {
                self.at = At::Operand(first);
                let receiver = self.argument(dot, None, of)?;
                return self.fields(dot, receiver, names, words, last);
            }
            OperandKind::Identifier(name) => {
                self.at = At::Operand(first);
                return self.function(dot, name, words, last);
            }
            OperandKind::Pipe(pipe) => {
                self.not_a_function(words, &last)?;
                return self.pipeline(dot, pipe);
            }
            OperandKind::Variable(names) => {
                self.at = At::Operand(first);
                return self.variable(dot, names, words, last);
            }
            _ => {}
        }
        self.at = At::Operand(first);
        self.not_a_function(words, &last)?;
        match &first.kind {
            OperandKind::Nil => self.fail("nil is not a command"),
            _ => self.constant(dot, first),
        }
    }

    fn constant(&self, dot: &Value, operand: &Operand) -> Run<Value> {
        Ok(match &operand.kind {
            OperandKind::Dot => dot.clone(),
            OperandKind::Bool(b) => Value::Bool(*b),
            OperandKind::Number {
                value: Number::Int(n),
                ..
            } => Value::Int(*n),
            OperandKind::Number {
                value: Number::Float(f),
                ..
            } => Value::Float(*f),
            OperandKind::Number {
                value: Number::Overflow,
                text,
            } => {
                return self.fail(format!("{text} overflows int"));
            }
            OperandKind::String { value, .. } => Value::String(Arc::clone(value)),
            _ => Value::Nil,
        })
    }

    fn not_a_function(&self, words: &'t [Operand], last: &Option<Value>) -> Run<()> {
        if words.len() > 1 || last.is_some() {
            return self.fail(format!("can't give argument to non-function {}", words[0]));
        }
        Ok(())
    }

    fn variable(
        &mut self,
        dot: &Value,
        names: &'t [String],
        words: &'t [Operand],
        last: Option<Value>,
    ) -> Run<Value> {
        let Some((_, value)) = self.variables.iter().rev().find(|(n, _)| *n == names[0]) else {
            return self.fail(format!("undefined variable: {}", names[0]));
        };
        let value = value.clone();
        if names.len() == 1 {
            self.not_a_function(words, &last)?;
            return Ok(value);
        }
        self.fields(dot, value, &names[1..], words, last)
    }

    /// `.A.B.C`; only the last one may be a method and take the arguments.
    fn fields(
        &mut self,
        dot: &Value,
        mut receiver: Value,
        names: &'t [String],
        words: &'t [Operand],
        mut last: Option<Value>,
    ) -> Run<Value> {
        for (i, name) in names.iter().enumerate() {
            let end = i + 1 == names.len();
            let (words, last) = if end {
                (words, last.take())
            } else {
                (&words[..1], None)
            };
            receiver = self.field(dot, receiver, name, words, last)?;
        }
        Ok(receiver)
    }

    fn field(
        &mut self,
        dot: &Value,
        receiver: Value,
        name: &'t str,
        words: &'t [Operand],
        last: Option<Value>,
    ) -> Run<Value> {
        if let Some(signature) = functions::method(&receiver, name) {
            let args = self.arguments(dot, name, signature, words, last)?;
            return Ok(functions::call_method(&receiver, name, &args));
        }
        let has_args = words.len() > 1 || last.is_some();
        let found = match &receiver {
            Value::Nil => Some(Value::Nil),
            Value::Labels(m) => Some(Value::string(m.get(name).map_or("", String::as_str))),
            Value::Map(m) => Some(m.entries.get(name).cloned().unwrap_or(Value::Nil)),
            Value::Sample(s) => match name {
                "Labels" => Some(Value::Labels(Arc::clone(&s.labels))),
                "Value" => Some(s.value.clone()),
                _ => None,
            },
            Value::Alert(a) => match name {
                "Labels" => Some(Value::Labels(Arc::clone(&a.labels))),
                "ExternalLabels" => Some(Value::Labels(Arc::clone(&a.external_labels))),
                "ExternalURL" => Some(Value::String(Arc::clone(&a.external_url))),
                "Value" => Some(a.value.clone()),
                _ => None,
            },
            Value::Histogram(h) => match name {
                "Count" => Some(Value::Float(h.count)),
                "Sum" => Some(Value::Float(h.sum)),
                "ZeroCount" => Some(Value::Float(h.zero_count)),
                "ZeroThreshold" => Some(Value::Float(h.zero_threshold)),
                "Schema" => Some(Value::Int(h.schema.into())),
                _ => None,
            },
            _ => None,
        };
        match found {
            Some(_) if has_args && matches!(receiver, Value::Labels(_) | Value::Map(_)) => {
                self.fail(format!("{name} is not a method but has arguments"))
            }
            Some(_) if has_args => self.fail(format!(
                "{name} has arguments but cannot be invoked as function"
            )),
            Some(value) => Ok(value),
            None => self.fail(format!(
                "can't evaluate field {name} in type {}",
                receiver.type_name()
            )),
        }
    }

    fn function(
        &mut self,
        dot: &Value,
        name: &'t str,
        words: &'t [Operand],
        last: Option<Value>,
    ) -> Run<Value> {
        let Some(signature) = functions::signature(name) else {
            return self.fail(format!("{name:?} is not a defined function"));
        };
        if matches!(name, "and" | "or") {
            return self.and_or(dot, name == "or", words, last);
        }
        let args = self.arguments(dot, name, signature, words, last)?;
        let bytes: usize = args
            .iter()
            .map(|a| if let Value::String(s) = a { s.len() } else { 0 })
            .sum();
        if bytes > BYTES_MAX {
            return self.bound(format!(
                "more than {BYTES_MAX} bytes of text in one call of {name}"
            ));
        }
        match functions::call(name, args, &mut self.env) {
            Ok(Value::String(s)) if s.len() > BYTES_MAX => {
                self.bound(format!("{name} made more than {BYTES_MAX} bytes of text"))
            }
            Ok(value) => Ok(value),
            Err(message) => {
                self.at = At::Command(words);
                self.fail(format!("error calling {name}: {message}"))
            }
        }
    }

    /// These two evaluate no more arguments than they need.
    fn and_or(
        &mut self,
        dot: &Value,
        or: bool,
        words: &'t [Operand],
        last: Option<Value>,
    ) -> Run<Value> {
        let name = if or { "or" } else { "and" };
        if words.len() == 1 && last.is_none() {
            self.at = At::Command(words);
            return self.fail(format!(
                "wrong number of args for {name}: want at least 1 got 0"
            ));
        }
        let mut value = Value::Nil;
        for word in &words[1..] {
            value = self.argument(dot, Some(Type::Any), word)?;
            if value.truth() == or {
                return Ok(value);
            }
        }
        Ok(last.unwrap_or(value))
    }

    fn arguments(
        &mut self,
        dot: &Value,
        name: &str,
        signature: Signature,
        words: &'t [Operand],
        last: Option<Value>,
    ) -> Run<Vec<Value>> {
        let given = words.len() - 1 + usize::from(last.is_some());
        let fixed = signature.fixed.len();
        let wrong =
            |want: String| format!("wrong number of args for {name}: want {want} got {given}");
        match signature.variadic {
            Some(_) if given < fixed => {
                self.at = At::Command(words);
                return self.fail(wrong(format!("at least {fixed}")));
            }
            None if given != fixed => {
                self.at = At::Command(words);
                return self.fail(wrong(fixed.to_string()));
            }
            _ => {}
        }
        let mut args = Vec::with_capacity(given);
        let wanted = |i: usize| signature.fixed.get(i).copied().or(signature.variadic);
        for (i, word) in words[1..].iter().enumerate() {
            args.push(self.argument(dot, wanted(i), word)?);
        }
        if let Some(last) = last {
            let i = args.len();
            args.push(self.checked(last, wanted(i))?);
        }
        Ok(args)
    }

    /// The value of one word, fit for the wanted type (None: whatever it is).
    fn argument(&mut self, dot: &Value, want: Option<Type>, word: &'t Operand) -> Run<Value> {
        self.step()?;
        self.at = At::Operand(word);
        let only = std::slice::from_ref(word);
        let value = match &word.kind {
            OperandKind::Dot => dot.clone(),
            OperandKind::Nil => {
                return match want {
                    Some(t) if !t.can_be_nil() => {
                        self.fail(format!("cannot assign nil to {}", t.name()))
                    }
                    _ => Ok(Value::Nil),
                };
            }
            OperandKind::Field(names) => self.fields(dot, dot.clone(), names, only, None)?,
            OperandKind::Variable(names) => self.variable(dot, names, only, None)?,
            OperandKind::Pipe(pipe) => self.pipeline(dot, pipe)?,
            OperandKind::Identifier(name) => self.function(dot, name, only, None)?,
            OperandKind::Chain(of, names) => {
                let receiver = self.argument(dot, None, of)?;
                self.fields(dot, receiver, names, only, None)?
            }
            OperandKind::Bool(_) | OperandKind::Number { .. } | OperandKind::String { .. } => {
                let value = self.constant(dot, word)?;
                return match want {
                    Some(Type::String) if !Type::String.accepts(&value) => {
                        self.fail(format!("expected string; found {word}"))
                    }
                    Some(t) if !t.accepts(&value) => {
                        self.fail(format!("can't handle {word} for arg of type {}", t.name()))
                    }
                    _ => Ok(value),
                };
            }
        };
        self.checked(value, want)
    }

    fn checked(&self, value: Value, want: Option<Type>) -> Run<Value> {
        let Some(want) = want else {
            return Ok(value);
        };
        match value {
            value if want.accepts(&value) => Ok(value),
            Value::Nil if want.can_be_nil() => Ok(Value::Nil),
            Value::Nil => self.fail(format!("invalid value; expected {}", want.name())),
            value => self.fail(format!(
                "wrong type for value; expected {}; got {}",
                want.name(),
                value.type_name()
            )),
        }
    }
}

fn int(n: usize) -> Value {
    Value::Int(i64::try_from(n).unwrap_or(i64::MAX))
}
