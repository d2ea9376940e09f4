//! Whether a caller may change something: it knows the configured token, or none is configured.

use subtle::ConstantTimeEq;
use tonic::Status;
use tonic::metadata::MetadataMap;

/// The metadata key that carries it, as in HTTP.
const HEADER: &str = "authorization";
const SCHEME: &str = "Bearer ";

/// `[admin].token`. Never printed.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// The configured one; empty: nobody is asked.
    pub fn new(token: &str) -> Self {
        Self(token.into())
    }

    /// Puts it on a call.
    pub fn put(&self, metadata: &mut MetadataMap) {
        if self.0.is_empty() {
            return;
        }
        // `config check` refuses tokens that no header can carry.
        if let Ok(mut value) =
            format!("{SCHEME}{}", self.0).parse::<tonic::metadata::AsciiMetadataValue>()
        {
            value.set_sensitive(true);
            metadata.insert(HEADER, value);
        }
    }

    /// Whether a call carries it.
    ///
    /// # Errors
    /// UNAUTHENTICATED, with what is missing.
    pub fn check(&self, metadata: &MetadataMap) -> Result<(), Status> {
        if self.0.is_empty() {
            return Ok(());
        }
        let given = metadata.get(HEADER).and_then(|value| value.to_str().ok());
        let Some(given) = given.and_then(|value| value.strip_prefix(SCHEME)) else {
            return Err(Status::unauthenticated(
                "this call wants [admin].token, as `authorization: Bearer <token>`",
            ));
        };
        // Takes as long for a wrong token that begins right as for any other.
        if given.as_bytes().ct_eq(self.0.as_bytes()).into() {
            Ok(())
        } else {
            Err(Status::unauthenticated("this is not the [admin].token"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carrying(value: &str) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        metadata.insert(HEADER, value.parse().unwrap());
        metadata
    }

    #[test]
    fn only_the_whole_token_is_accepted() {
        let token = Token::new("s3cret");
        let mut right = MetadataMap::new();
        token.put(&mut right);
        assert!(token.check(&right).is_ok());
        for wrong in [
            "s3cret",
            "Bearer",
            "Bearer ",
            "Bearer s3cre",
            "Bearer s3crets",
            "Bearer S3cret",
            "Bearer s3crets3cret",
            "bearer s3cret",
        ] {
            let status = token.check(&carrying(wrong)).unwrap_err();
            assert_eq!(status.code(), tonic::Code::Unauthenticated, "{wrong}");
            assert!(!status.message().contains("s3cret"), "{}", status.message());
        }
        assert!(token.check(&MetadataMap::new()).is_err());
    }

    #[test]
    fn without_a_token_nobody_is_asked() {
        let token = Token::new("");
        let mut metadata = MetadataMap::new();
        token.put(&mut metadata);
        assert!(metadata.is_empty());
        assert!(token.check(&metadata).is_ok());
        assert!(token.check(&carrying("Bearer x")).is_ok());
    }
}
