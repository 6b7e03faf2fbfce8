//! The head of an answer, as far as a try wants it: the status, and where it leads.
//!
//! It comes from a task, so anything may be in it. Deliberately not here: bodies.

/// The longest head.
pub(super) const HEAD_BYTES: usize = 32 * 1024;

/// What an answer begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) location: Option<String>,
}

/// Reads a head from what has come so far: `None` if more has to come. An error says what it is
/// instead.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Head>, String> {
    let mut rest = bytes;
    loop {
        if !may_be_http(rest) {
            return Err("it did not answer by HTTP/1".to_owned());
        }
        let end = end_of_head(rest);
        let Some(end) = end else {
            return match bytes.len() < HEAD_BYTES {
                true => Ok(None),
                false => Err(format!(
                    "its answer has no end of the head in {HEAD_BYTES} bytes"
                )),
            };
        };
        let mut lines = rest[..end].split(|&byte| byte == b'\n');
        let status = lines.next().and_then(status_of);
        let status = status.ok_or("its answer has no status from 100 to 999")?;
        // Those announce another answer, but for the one that ends HTTP.
        if (100..200).contains(&status) && status != 101 {
            rest = &rest[end..];
            continue;
        }
        let location = lines.find_map(location_in);
        return Ok(Some(Head { status, location }));
    }
}

/// Returns whether these bytes are the begin of an answer, as far as they go.
fn may_be_http(bytes: &[u8]) -> bool {
    let wanted = b"HTTP/1.";
    let length = bytes.len().min(wanted.len());
    bytes[..length] == wanted[..length]
}

/// Returns where the empty line ends.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let mut line = 0;
    for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
        if matches!(&bytes[line..at], b"" | b"\r") {
            return Some(at + 1);
        }
        line = at + 1;
    }
    None
}

/// Reads `HTTP/1.x NNN reason`.
fn status_of(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let [version, b' ', digits @ ..] = rest else {
        return None;
    };
    let (digits, rest) = digits.split_at_checked(3)?;
    let ends = matches!(rest.first(), None | Some(b' ' | b'\r'));
    let is_status = version.is_ascii_digit() && digits.iter().all(u8::is_ascii_digit) && ends;
    let digits = std::str::from_utf8(digits).ok().filter(|_| is_status)?;
    digits.parse().ok().filter(|&status| status >= 100)
}

fn location_in(line: &[u8]) -> Option<String> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let (name, value) = line.split_at(colon);
    let is_it = name.eq_ignore_ascii_case(b"location");
    let value = std::str::from_utf8(&value[1..]).ok().filter(|_| is_it)?;
    Some(value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16, location: Option<&str>) -> Result<Option<Head>, String> {
        let location = location.map(str::to_owned);
        Ok(Some(Head { status, location }))
    }

    #[test]
    fn heads_are_read() {
        // TK-96
        for (text, status, location) in [
            ("HTTP/1.1 200 OK\r\n\r\n", 200, None),
            ("HTTP/1.0 404\r\n\r\nbody", 404, None),
            ("HTTP/1.1 500 \n\n", 500, None),
            ("HTTP/1.1 999 x\r\nA: b\r\n\r\n", 999, None),
            ("HTTP/1.1 302 x\r\nLOCATION:/x\r\n\r\n", 302, Some("/x")),
            (
                "HTTP/1.1 302 x\r\nlocation:  /x \r\nA: b\r\n\r\n",
                302,
                Some("/x"),
            ),
            ("HTTP/1.1 302 x\r\nX-Location: /x\r\n\r\n", 302, None),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 x\r\n\r\n",
                204,
                None,
            ),
            (
                "HTTP/1.1 103 x\r\nLocation: /y\r\n\r\nHTTP/1.1 200 x\r\n\r\n",
                200,
                None,
            ),
            ("HTTP/1.1 101 x\r\n\r\n", 101, None),
            ("HTTP/1.1 200 x\r\nno colon\r\n\r\n", 200, None),
        ] {
            assert_eq!(parse(text.as_bytes()), head(status, location), "{text:?}");
            // However it is cut, it is not taken for another.
            for length in 0..text.len() {
                let found = parse(&text.as_bytes()[..length]);
                assert!(
                    found == Ok(None) || found == head(status, location),
                    "{text:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_none_is_said_as_soon_as_it_shows() {
        // TK-96
        for text in [
            "SSH-2.0-x\r\n",
            "h",
            "\r\n\r\n",
            "HTTP/2 200\r\n\r\n",
            "HTTP/1.1 20\r\n\r\n",
            "HTTP/1.1 2000\r\n\r\n",
            "HTTP/1.1 099 x\r\n\r\n",
            "HTTP/1.1 -20 x\r\n\r\n",
            "HTTP/1.x 200 x\r\n\r\n",
            "HTTP/1.1  200 x\r\n\r\n",
            "HTTP/1.1 100 x\r\n\r\nnonsense",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(parse(&[0xff; 9]).is_err());
        let mut long = b"HTTP/1.1 200 OK\r\nA: ".to_vec();
        long.resize(HEAD_BYTES - 1, b'x');
        assert_eq!(parse(&long), Ok(None));
        long.push(b'x');
        assert!(parse(&long).is_err());
        // Many that announce another do not go on for ever either.
        let many = b"HTTP/1.1 100 x\r\n\r\n".repeat(HEAD_BYTES / 18 + 1);
        assert!(parse(&many).is_err());
    }
}
