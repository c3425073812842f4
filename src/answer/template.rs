//! Templates of error bodies and messages. Values are escaped as JSON string contents where they stand in a body.

/// What may stand in a template.
#[derive(Debug, Clone, Copy)]
pub(super) struct Values<'a> {
    pub(super) code: &'a str,
    pub(super) message: &'a str,
    pub(super) family: &'a str,
    pub(super) status: u16,
    pub(super) reason: &'a str,
    pub(super) request_id: &'a str,
    pub(super) environment: &'a str,
    pub(super) deployment: &'a str,
}

#[derive(Debug)]
pub(super) struct Template(Box<[Piece]>);

#[derive(Debug)]
enum Piece {
    Text(Box<str>),
    Field(Field),
}

#[derive(Debug, Clone, Copy)]
enum Field {
    Code,
    Message,
    Family,
    Status,
    Reason,
    RequestId,
    Environment,
    Deployment,
}

const FIELDS: [(&str, Field); 8] = [
    ("code", Field::Code),
    ("message", Field::Message),
    ("type", Field::Family),
    ("status", Field::Status),
    ("reason", Field::Reason),
    ("request_id", Field::RequestId),
    ("environment", Field::Environment),
    ("deployment", Field::Deployment),
];

impl Template {
    /// Braces that enclose a bare lower-case word are fields; all others are JSON's.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some((front, behind)) = rest.split_once('{') {
            literal.push_str(front);
            let word = behind
                .split_once('}')
                .filter(|(word, _)| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
            let Some((word, after)) = word else {
                literal.push('{');
                rest = behind;
                continue;
            };
            let field = FIELDS.iter().find(|(name, _)| *name == word).map(|(_, field)| *field);
            let field = field.ok_or_else(|| {
                format!("`{{{word}}}` is not known; there are {}", FIELDS.map(|(name, _)| format!("{{{name}}}")).join(" "))
            })?;
            pieces.push(Piece::Text(std::mem::take(&mut literal).into()));
            pieces.push(Piece::Field(field));
            rest = after;
        }
        literal.push_str(rest);
        pieces.push(Piece::Text(literal.into()));
        Ok(Self(pieces.into()))
    }

    pub(super) fn render(&self, values: &Values<'_>, json: bool) -> String {
        let mut out = String::new();
        for piece in &self.0 {
            let text = match piece {
                Piece::Text(text) => {
                    out.push_str(text);
                    continue;
                }
                Piece::Field(Field::Status) => {
                    out.push_str(&values.status.to_string());
                    continue;
                }
                Piece::Field(Field::Code) => values.code,
                Piece::Field(Field::Message) => values.message,
                Piece::Field(Field::Family) => values.family,
                Piece::Field(Field::Reason) => values.reason,
                Piece::Field(Field::RequestId) => values.request_id,
                Piece::Field(Field::Environment) => values.environment,
                Piece::Field(Field::Deployment) => values.deployment,
            };
            if json { push_escaped(&mut out, text) } else { out.push_str(text) }
        }
        out
    }
}

fn push_escaped(out: &mut String, text: &str) {
    let quoted = serde_json::Value::from(text).to_string();
    out.push_str(quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: Values<'_> = Values {
        code: "C",
        message: "say \"hi\"",
        family: "t",
        status: 401,
        reason: "r",
        request_id: "id",
        environment: "Test",
        deployment: "production",
    };

    #[test]
    fn json_braces_are_kept_and_values_escaped() {
        let body = Template::parse(r#"{"error":{"code":"{code}","message":"{message}","status":{status}}}"#).unwrap();
        assert_eq!(body.render(&VALUES, true), r#"{"error":{"code":"C","message":"say \"hi\"","status":401}}"#);
    }

    #[test]
    fn unknown_fields_are_refused() {
        assert!(Template::parse("{nope}").is_err());
        assert!(Template::parse("{} {A} {\"x\":1}").is_ok());
    }
}
