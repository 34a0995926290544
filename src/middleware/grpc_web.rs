//! Translates gRPC-Web, which browsers can speak, to gRPC for the endpoint and back.
//!
//! In a request only the content type and, in text mode, base64 differ. In an answer the trailers
//! become the last frame of the body (PROTOCOL-WEB.md of the gRPC project).

use super::{Middleware, Step};
use crate::http::exchange::GrpcWeb as Form;
use crate::http::grpc::codec;
use crate::http::recode::Recoder;
use crate::http::{Exchange, Fields, Framing, Method, Name};

mod base64;
mod body;

use body::{Answer, TextRequest};

const GRPC: &[u8] = b"application/grpc";
const BINARY: &[u8] = b"application/grpc-web";
const TEXT: &[u8] = b"application/grpc-web-text";

/// The translation of both directions.
#[derive(Debug)]
pub(super) struct GrpcWeb;

impl Middleware for GrpcWeb {
    fn on_request(&self, exchange: &mut Exchange) -> Step {
        let request = &exchange.request;
        let told = request.fields.get(Name::ContentType).unwrap_or_default();
        let (form, codec) = match (codec(told, TEXT), codec(told, BINARY)) {
            _ if request.method != Method::Post => return Step::Next,
            (Some(codec), _) => (Form::Text, codec),
            (None, Some(codec)) => (Form::Binary, codec),
            (None, None) => return Step::Next,
        };
        let content_type = [GRPC, codec].concat();
        exchange.grpc_web = Some(wanted(&request.fields).unwrap_or(form));
        if form == Form::Text && !request.framing.is_empty() {
            exchange.upload = Some(Box::new(Recoder::new(Box::new(TextRequest::default()))));
            // How long it will be is known at its end.
            exchange.request.framing = Framing::Chunked;
            exchange.request.fields.remove(b"content-length");
        }
        let fields = &mut exchange.request.fields;
        fields.set(b"content-type", &content_type);
        fields.set(b"te", b"trailers");
        // Speaks of the form that is gone now.
        for name in [&b"accept"[..], b"x-grpc-web"] {
            fields.remove(name);
        }
        Step::Next
    }

    fn on_response(&self, exchange: &mut Exchange) -> Step {
        let response = &mut exchange.response;
        let told = response.fields.get(Name::ContentType).unwrap_or_default();
        let (Some(form), Some(codec)) = (exchange.grpc_web, codec(told, GRPC)) else { return Step::Next };
        let codec = if codec.is_empty() { b"+proto" } else { codec };
        let media_type = match form {
            Form::Binary => BINARY,
            Form::Text => TEXT,
        };
        let content_type = [media_type, codec].concat();
        let fields = &mut response.fields;
        fields.set(b"content-type", &content_type);
        fields.remove(b"content-length");
        fields.remove(b"trailer");
        let answer = Answer::new(form, take_status(fields));
        exchange.download = Some(Box::new(Recoder::new(Box::new(answer))));
        response.framing = Framing::Chunked;
        Step::Next
    }
}

/// The form that the client asks for, when it asks for one.
fn wanted(fields: &Fields) -> Option<Form> {
    let types = || fields.all(Name::Accept).flat_map(crate::http::fields::items);
    if types().any(|one| codec(one, TEXT).is_some()) {
        return Some(Form::Text);
    }
    types().any(|one| codec(one, BINARY).is_some()).then_some(Form::Binary)
}

/// Takes the status out of a head which is all that the endpoint sends ("Trailers-Only"): it goes
/// to where the client looks for it.
fn take_status(fields: &mut Fields) -> Fields {
    let mut status = Fields::default();
    for name in [&b"grpc-status"[..], b"grpc-message", b"grpc-status-details-bin"] {
        if let Some(value) = fields.find(name) {
            status.push(name, value);
        }
    }
    status.iter().for_each(|(_, name, _)| fields.remove(name));
    status
}

#[cfg(test)]
mod tests {
    use super::super::{Settings, build, settings};
    use super::*;

    fn middleware() -> Box<dyn Middleware> {
        build(&Settings::GrpcWeb(settings::GrpcWeb {})).unwrap()
    }

    fn asked(method: Method, fields: &[(&str, &str)]) -> Exchange {
        let mut exchange = Exchange::default();
        exchange.request.method = method;
        exchange.request.framing = Framing::Length(8);
        for (name, value) in fields {
            exchange.request.fields.push(name.as_bytes(), value.as_bytes());
        }
        assert_eq!(middleware().on_request(&mut exchange), Step::Next);
        exchange
    }

    fn answered(exchange: &mut Exchange, fields: &[(&str, &str)]) {
        exchange.response.status = 200;
        for (name, value) in fields {
            exchange.response.fields.push(name.as_bytes(), value.as_bytes());
        }
        assert_eq!(middleware().on_response(exchange), Step::Next);
    }

    #[test]
    fn a_binary_request_changes_its_head_only() {
        let exchange = asked(
            Method::Post,
            &[
                ("content-type", "application/grpc-web+proto"),
                ("x-grpc-web", "1"),
                ("accept", "application/grpc-web+proto"),
                ("content-length", "8"),
            ],
        );
        let fields = &exchange.request.fields;
        assert_eq!(fields.get(Name::ContentType), Some(&b"application/grpc+proto"[..]));
        assert_eq!(fields.get(Name::Te), Some(&b"trailers"[..]));
        assert_eq!(fields.find(b"x-grpc-web"), None);
        assert_eq!(exchange.request.framing, Framing::Length(8));
        assert!(exchange.upload.is_none());
        assert_eq!(exchange.grpc_web, Some(Form::Binary));
    }

    #[test]
    fn a_text_request_loses_its_length_with_its_base64() {
        let exchange = asked(
            Method::Post,
            &[("content-type", "application/grpc-web-text"), ("content-length", "8"), ("accept", "*/*")],
        );
        assert_eq!(exchange.request.fields.get(Name::ContentType), Some(GRPC));
        assert_eq!(exchange.request.fields.get(Name::ContentLength), None);
        assert_eq!(exchange.request.framing, Framing::Chunked);
        assert!(exchange.upload.is_some());
        assert_eq!(exchange.grpc_web, Some(Form::Text));
    }

    #[test]
    fn the_answer_has_the_form_that_accept_names() {
        let exchange = asked(
            Method::Post,
            &[("content-type", "application/grpc-web"), ("accept", "application/grpc-web-text+proto")],
        );
        assert_eq!(exchange.grpc_web, Some(Form::Text));
        assert!(exchange.upload.is_none());
    }

    #[test]
    fn other_requests_and_answers_are_left_alone() {
        for (method, value) in [
            (Method::Post, "application/grpc"),
            (Method::Post, "application/grpc-webx"),
            (Method::Options, "application/grpc-web"),
            (Method::Post, "text/plain"),
        ] {
            let mut exchange = asked(method, &[("content-type", value)]);
            assert_eq!(exchange.request.fields.get(Name::ContentType), Some(value.as_bytes()));
            assert!(exchange.grpc_web.is_none());
            answered(&mut exchange, &[("content-type", "application/grpc")]);
            assert!(exchange.download.is_none());
        }
        let mut exchange = asked(Method::Post, &[("content-type", "application/grpc-web")]);
        answered(&mut exchange, &[("content-type", "text/html"), ("content-length", "5")]);
        assert!(exchange.download.is_none());
        assert_eq!(exchange.response.fields.get(Name::ContentLength), Some(&b"5"[..]));
    }

    #[test]
    fn the_status_of_an_answer_without_a_body_moves_into_the_body() {
        let mut exchange = asked(Method::Post, &[("content-type", "application/grpc-web+proto")]);
        answered(
            &mut exchange,
            &[
                ("content-type", "application/grpc"),
                ("grpc-status", "5"),
                ("grpc-message", "not here"),
                ("x-a", "b"),
            ],
        );
        let fields = &exchange.response.fields;
        assert_eq!(fields.get(Name::ContentType), Some(&b"application/grpc-web+proto"[..]));
        assert_eq!((fields.find(b"grpc-status"), fields.find(b"x-a")), (None, Some(&b"b"[..])));
        assert_eq!(exchange.response.framing, Framing::Chunked);
        let mut recoder = exchange.download.take().unwrap();
        recoder.end(&Fields::default()).unwrap();
        assert_eq!(recoder.ready(), b"\x80\0\0\0\x28grpc-status: 5\r\ngrpc-message: not here\r\n");
    }
}
