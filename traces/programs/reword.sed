# Many patterns on every line: each one compiles and runs an automaton.
s/\b([[:alpha:]]+)(ing|ed|er)\b/<\1|\2>/g
s/([aeiou])([^aeiou ]{2,4})([aeiou])/\3\2\1/g
s/\b(the|a|an|this|that)\b +([[:alpha:]]+)/\2 \1/Ig
s/(^| )([A-Z][a-z]*)( |$)/\1[\2]\3/g
s/([0-9]+)\.([0-9]+)/\2.\1/g
/^ *$/d
H
$!{
  /license|software|copyright/I{x;s/\n/ /g;s/(.{200}).*/\1/;x}
}
