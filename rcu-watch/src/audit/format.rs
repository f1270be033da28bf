//! Where the fields of a trace entry are: tracefs `events/SYSTEM/EVENT/format`, and `events/header_page`.
//!
//! ```text
//! name: function
//! ID: 1
//! format:
//!  field:unsigned short common_type; offset:0; size:2; signed:0;
//! ```

/// A number within an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub offset: usize,
    pub size: usize,
}

impl Field {
    /// Its value, little endian as on every machine that this runs on; `None` where the entry is too short.
    #[must_use]
    pub(crate) fn read(self, entry: &[u8]) -> Option<u64> {
        let bytes = entry.get(self.offset..self.offset.checked_add(self.size)?)?;
        let mut word = [0; 8];
        word.get_mut(..self.size)?.copy_from_slice(bytes);
        Some(u64::from_le_bytes(word))
    }
}

/// One event's format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    pub id: u64,
    fields: Vec<(String, Field)>,
}

impl Format {
    /// Reads the text of a `format` file; a `header_page` has no id.
    #[must_use]
    pub(crate) fn parse(text: &str) -> Self {
        let mut format = Self { id: 0, fields: Vec::new() };
        for line in text.lines() {
            if let Some(id) = line.strip_prefix("ID:") {
                format.id = id.trim().parse().unwrap_or(0);
            } else if let Some(field) = parse_field(line) {
                format.fields.push(field);
            }
        }
        format
    }

    #[must_use]
    pub(crate) fn field(&self, name: &str) -> Option<Field> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, field)| *field)
    }
}

/// `field:unsigned long ip; offset:8; size:8; signed:0;`
fn parse_field(line: &str) -> Option<(String, Field)> {
    let mut parts = line.trim().strip_prefix("field:")?.split(';').map(str::trim);
    let declaration = parts.next()?;
    let name = declaration.rsplit([' ', '*']).next()?.split('[').next()?;
    let (mut offset, mut size) = (None, None);
    for part in parts {
        match part.split_once(':') {
            Some(("offset", value)) => offset = value.parse().ok(),
            Some(("size", value)) => size = value.parse().ok(),
            _ => {}
        }
    }
    Some((name.to_owned(), Field { offset: offset?, size: size? }))
}

/// Formats of everything that an audit reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Formats {
    /// Bytes of a page of the ring buffer that come before its entries.
    pub page_data: usize,
    /// Bytes that a read of a page may give.
    pub page_bytes: usize,
    pub function: FunctionFormat,
    /// `power:cpu_idle`.
    pub cpu_idle: StateFormat,
    /// `context_tracking:user_enter` and `user_exit`, where this kernel has them.
    pub user_enter: Option<u64>,
    pub user_exit: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FunctionFormat {
    pub id: u64,
    pub kind: Field,
    pub flags: Field,
    pub ip: Field,
    pub parent_ip: Field,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StateFormat {
    pub id: u64,
    pub state: Field,
}

impl Formats {
    /// From the texts of the files; `None` where one has not what is needed.
    #[must_use]
    pub(crate) fn parse(
        header_page: &str,
        function: &str,
        cpu_idle: &str,
        user: [Option<String>; 2],
    ) -> Option<Self> {
        let data = Format::parse(header_page).field("data")?;
        let function = Format::parse(function);
        let cpu_idle = Format::parse(cpu_idle);
        let [user_enter, user_exit] = user.map(|text| text.map(|text| Format::parse(&text).id));
        Some(Self {
            page_data: data.offset,
            page_bytes: data.offset + data.size,
            function: FunctionFormat {
                id: function.id,
                kind: function.field("common_type")?,
                flags: function.field("common_flags")?,
                ip: function.field("ip")?,
                parent_ip: function.field("parent_ip")?,
            },
            cpu_idle: StateFormat { id: cpu_idle.id, state: cpu_idle.field("state")? },
            user_enter,
            user_exit,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const HEADER_PAGE: &str = "\
\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;
\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;
\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;
\tfield: char data;\toffset:16;\tsize:4080;\tsigned:1;
";
    const COMMON: &str = "\
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

";

    pub(in crate::audit) fn formats() -> Formats {
        let function = format!(
            "name: function\nID: 1\nformat:\n{COMMON}\
             \tfield:unsigned long ip;\toffset:8;\tsize:8;\tsigned:0;\n\
             \tfield:unsigned long parent_ip;\toffset:16;\tsize:8;\tsigned:0;\n\
             \tfield:unsigned long args[];\toffset:24;\tsize:0;\tsigned:0;\n\nprint fmt: \"\"\n"
        );
        let cpu_idle = format!(
            "name: cpu_idle\nID: 287\nformat:\n{COMMON}\
             \tfield:u32 state;\toffset:8;\tsize:4;\tsigned:0;\n\
             \tfield:u32 cpu_id;\toffset:12;\tsize:4;\tsigned:0;\n"
        );
        let user =
            ["name: user_enter\nID: 20\n", "name: user_exit\nID: 19\n"].map(|text| Some(text.to_owned()));
        Formats::parse(HEADER_PAGE, &function, &cpu_idle, user).unwrap()
    }

    #[test]
    fn ids_and_places_come_from_the_kernels_own_text() {
        let formats = formats();
        assert_eq!((formats.page_data, formats.page_bytes), (16, 4096));
        assert_eq!((formats.function.id, formats.cpu_idle.id), (1, 287));
        assert_eq!(formats.function.parent_ip, Field { offset: 16, size: 8 });
        assert_eq!((formats.user_enter, formats.user_exit), (Some(20), Some(19)));
    }

    #[test]
    fn a_kernel_without_a_field_that_is_needed_is_refused() {
        assert_eq!(Formats::parse(HEADER_PAGE, "ID: 1\n", "", [None, None]), None);
    }

    #[test]
    fn a_field_beyond_the_entry_has_no_value() {
        let ip = Field { offset: 8, size: 8 };
        assert_eq!(ip.read(&[0; 15]), None);
        assert_eq!(Field { offset: 1, size: 2 }.read(&[0, 1, 2]), Some(0x201));
    }
}
