//! `template.yaml` as data.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use serde_norway::value::TaggedValue;

use crate::workspace;

/// Name of the stack in tests.
pub const STACK: &str = "tollgate";

/// The template, its short forms (`!Ref`) written out.
#[derive(Clone, Debug)]
pub struct Template(Value);

impl Template {
    /// The one in the root.
    ///
    /// # Panics
    /// If it is no YAML.
    #[must_use]
    pub fn load() -> Self {
        Self(plain(serde_norway::from_str(&workspace::read("template.yaml")).expect("template.yaml is YAML")))
    }

    /// The whole document.
    #[must_use]
    pub fn document(&self) -> &Value {
        &self.0
    }

    /// The resources of a type, by logical id.
    ///
    /// # Panics
    /// If there are no resources.
    #[must_use]
    pub fn resources(&self, of: &str) -> BTreeMap<&str, &Value> {
        let all = self.0["Resources"].as_object().expect("Resources");
        all.iter().filter(|(_, r)| r["Type"] == of).map(|(id, r)| (id.as_str(), r)).collect()
    }

    /// The functions, by the binary that each runs.
    ///
    /// # Panics
    /// If one names no binary.
    #[must_use]
    pub fn functions(&self) -> BTreeMap<&str, &Value> {
        let all = self.resources("AWS::Serverless::Function");
        all.into_values().map(|f| (f["Metadata"]["BuildProperties"]["Binary"].as_str().expect("a binary"), f)).collect()
    }

    /// The environment of the functions in a stack named [`STACK`].
    ///
    /// # Panics
    /// If a value is of a form that this does not know.
    #[must_use]
    pub fn environment(&self) -> BTreeMap<String, String> {
        let variables = self.0["Globals"]["Function"]["Environment"]["Variables"].as_object().expect("Variables");
        variables.iter().map(|(name, value)| (name.clone(), self.text(value))).collect()
    }

    /// What a text is in a stack named [`STACK`], with the defaults of its parameters.
    ///
    /// # Panics
    /// If it is of a form that this does not know.
    #[must_use]
    pub fn text(&self, value: &Value) -> String {
        if let Some(text) = value.as_str() {
            return text.to_owned();
        }
        if let Some(name) = value["Ref"].as_str() {
            return self.reference(name);
        }
        let mut rest = value["Fn::Sub"].as_str().unwrap_or_else(|| panic!("no text: {value}"));
        let mut text = String::new();
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after.split_once('}').expect("a closed ${");
            text += before;
            text += &self.reference(name);
            rest = after;
        }
        text + rest
    }

    fn reference(&self, name: &str) -> String {
        match name {
            "AWS::StackName" => return STACK.to_owned(),
            "AWS::Region" => return "eu-west-1".to_owned(),
            "AWS::AccountId" => return "123456789012".to_owned(),
            "AWS::Partition" => return "aws".to_owned(),
            "EdgeEndpoint" => return "edge.example.com:3128".to_owned(),
            _ => {}
        }
        if let Some(parameter) = self.0["Parameters"][name].as_object() {
            return parameter["Default"].as_str().unwrap_or_else(|| panic!("{name} has a default")).to_owned();
        }
        let resource = &self.0["Resources"][name]["Properties"];
        let named = ["Name", "FunctionName", "TableName", "QueueName"].iter().find(|n| !resource[**n].is_null());
        self.text(&resource[*named.unwrap_or_else(|| panic!("{name} is a named resource"))])
    }

    /// What the policy of the function that runs `binary` grants: (action, resource).
    ///
    /// # Panics
    /// If there is no such function.
    #[must_use]
    pub fn grants(&self, binary: &str) -> BTreeSet<(String, String)> {
        let functions = self.functions();
        let policies = functions[binary]["Properties"]["Policies"].as_array().expect("policies of its own");
        policies.iter().flat_map(statements).flat_map(|s| self.granted(s)).collect()
    }

    /// (action, resource) of one statement.
    fn granted(&self, statement: &Value) -> Vec<(String, String)> {
        assert_eq!(statement["Effect"], "Allow", "{statement}");
        let mut granted = Vec::new();
        for action in list(&statement["Action"]) {
            for resource in list(&statement["Resource"]) {
                granted.push((action.as_str().expect("an action").to_owned(), self.resource(resource)));
            }
        }
        granted
    }

    /// A resource of a policy as the test's cloud names it: `table/accounts`, `secret/brd/management`.
    ///
    /// # Panics
    /// If it is of a kind that no policy of ours names.
    #[must_use]
    pub fn resource(&self, arn: &Value) -> String {
        let id = match (&arn["Fn::GetAtt"], &arn["Ref"]) {
            (Value::Array(path), _) => path[0].as_str(),
            (_, Value::String(id)) => Some(id.as_str()),
            _ => None,
        };
        let Some(id) = id else {
            let arn = self.text(arn);
            let function = arn.split_once(":function:").unwrap_or_else(|| panic!("an ARN of a function: {arn}")).1;
            return format!("function/{}", own(function));
        };
        let resource = &self.0["Resources"][id];
        let properties = &resource["Properties"];
        let (kind, name) = match resource["Type"].as_str().unwrap_or_default() {
            "AWS::DynamoDB::Table" => ("table", &properties["TableName"]),
            "AWS::SecretsManager::Secret" => ("secret", &properties["Name"]),
            "AWS::Events::EventBus" => ("bus", &properties["Name"]),
            "AWS::Serverless::Function" => ("function", &properties["FunctionName"]),
            other => panic!("a policy names {id}, of type {other:?}"),
        };
        format!("{kind}/{}", own(&self.text(name)))
    }
}

/// A name without the stack's before it.
fn own(name: &str) -> &str {
    name.strip_prefix(STACK).map_or(name, |n| n.trim_start_matches(['-', '/']))
}

/// The statements of a policy document.
///
/// # Panics
/// If it has none.
#[must_use]
pub fn statements(policy: &Value) -> Vec<&Value> {
    policy["Statement"].as_array().expect("a policy has statements").iter().collect()
}

/// A value as a list: most lists of a policy may be a single value.
#[must_use]
pub fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(all) => all.iter().collect(),
        one => vec![one],
    }
}

/// YAML as JSON, with CloudFormation's short forms written out.
fn plain(yaml: serde_norway::Value) -> Value {
    use serde_norway::Value as Yaml;
    match yaml {
        Yaml::Null => Value::Null,
        Yaml::Bool(b) => b.into(),
        Yaml::Number(n) => serde_json::to_value(n).expect("a number"),
        Yaml::String(s) => s.into(),
        Yaml::Sequence(all) => all.into_iter().map(plain).collect(),
        Yaml::Mapping(all) => {
            let fields = all.into_iter().map(|(k, v)| (k.as_str().expect("keys are texts").to_owned(), plain(v)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        Yaml::Tagged(tagged) => {
            let TaggedValue { tag, value } = *tagged;
            let tag = tag.to_string();
            match (tag.trim_start_matches('!'), plain(value)) {
                ("Ref", name) => json!({ "Ref": name }),
                ("GetAtt", Value::String(path)) => {
                    json!({ "Fn::GetAtt": path.split('.').collect::<Vec<_>>() })
                }
                (other, value) => json!({ format!("Fn::{other}"): value }),
            }
        }
    }
}
