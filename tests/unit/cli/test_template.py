import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.base.errors import InvalidArgument
from atoll.cli.template import render

DATA = {
    "Name": "web",
    "State": {"Pid": 7, "Running": True, "Error": ""},
    "Ports": [80, 443],
    "Labels": {"a.b": "c", "z": "y"},
    "Nothing": None,
    "Empty": [],
    "Mounts": [{"Source": "/a"}, {"Source": "/b"}],
    "Bound": {"80/tcp": [{"HostPort": "8080"}]},
    "Label": lambda key: {"a.b": "c"}.get(key, ""),
}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("plain", "plain"),
        ("{{.Name}}-{{ .State.Pid }}", "web-7"),
        ("{{.State.Running}}", "true"),
        ("{{json .Ports}}", "[80,443]"),
        ("{{json .State}}", '{"Pid":7,"Running":true,"Error":""}'),
        ("{{.Ports}} {{.Labels}}", "[80 443] map[a.b:c z:y]"),
        ("{{.Nothing}}", "<no value>"),
        ('{{index .Labels "a.b"}}', "c"),
        ('{{index .Labels "absent"}}', ""),
        ("{{index .Ports 1}}", "443"),
        ("{{range .Ports}}<{{.}}>{{end}}", "<80><443>"),
        ("{{range .Empty}}x{{else}}none{{end}}", "none"),
        ("{{range $k, $v := .Labels}}{{$k}}={{$v}};{{end}}", "a.b=c;z=y;"),
        ("{{range .Ports}}{{$.Name}}{{end}}", "webweb"),
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        ("{{if .State.Error}}bad{{else if .State.Running}}up{{end}}", "up"),
        ("{{if .Nothing}}a{{else if .Empty}}b{{else}}c{{end}}!", "c!"),
        ("{{with .State}}{{.Pid}}{{end}}", "7"),
        ("{{.Name | upper}}", "WEB"),
        ('{{join .Ports ","}}', "80,443"),
        ('{{if and (eq .Name "web") (gt .State.Pid 3)}}yes{{end}}', "yes"),
        ("{{len .Ports}}", "2"),
        ("a {{- .Name -}} b", "awebb"),
        ("{{/* a comment */}}x", "x"),
        ('{{"quoted\\n"}}', "quoted\n"),
        ("{{`raw\\n`}}", "raw\\n"),
        ("{{println .Name}}", "web\n"),
        ("{{not .Empty}}", "true"),
        ('{{or .State.Error "fine"}}', "fine"),
        ("{{(index .Mounts 0).Source}}", "/a"),
        ('{{ (index (index .Bound "80/tcp") 0).HostPort }}', "8080"),
        ('{{.Label "a.b"}}-{{.Label "absent"}}', "c-"),
        ('{{"a.b" | .Label | upper}}', "C"),
        ("{{$n := .Name}}{{$n}}{{$n = 3}}{{$n}}", "web3"),
        ("{{$all := 0}}{{range .Ports}}{{$all = .}}{{end}}{{$all}}", "443"),
        ("{{with $s := .State}}{{$s.Pid}}{{end}}", "7"),
        ("{{if $p := .State.Pid}}{{$p}}{{end}}", "7"),
        ("{{range $i, $m := .Mounts}}{{if $i}},{{end}}{{$m.Source}}{{end}}", "/a,/b"),
        ("{{range .Ports}}{{if eq . 443}}{{break}}{{end}}{{.}}{{end}}", "80"),
        ("{{range .Ports}}{{if eq . 80}}{{continue}}{{end}}{{.}}{{end}}", "443"),
        (
            '{{printf "%-5s|%3d|%q|%v|%t|%.1f%%" .Name .State.Pid .Name .Ports true 1.25}}',
            'web  |  7|"web"|[80 443]|true|1.2%',
        ),
        ("{{slice .Name 1 3}}{{slice .Ports 1}}", "eb[443]"),
        ('{{"}}"}}', "}}"),
        ("{{/* }} */}}x", "x"),
        ('{{join .Empty ","}}|{{len .Nothing}}', "|0"),
        ('{{html "<a>"}}{{pad .Name 1 2}}|', "&lt;a&gt; web  |"),
        ("{{json .Mounts}}", '[{"Source":"/a"},{"Source":"/b"}]'),
    ],
)
def test_what_go_would_print(template, expected):
    assert render(template, DATA) == expected


@pytest.mark.parametrize(
    "template",
    ["{{", "{{.Name", "{{.Absent}}", "{{nofunc .Name}}", "{{end}}", "{{if .Name}}", "{{.Name.More}}", "{{}}",
     "{{(.Name}}", "{{break}}", "{{$x = 1}}",
     "{{range .Name}}{{end}}", '{{lt .Name 3}}', '{{"}}', '{{"open}}', "{{range .Ports}}", "{{$x}}", "{{len}}",
     "{{.Name .Name}}"],
)  # fmt: skip
def test_wrong_templates_are_told(template):
    with pytest.raises(InvalidArgument, match="template parsing error"):
        render(template, DATA)


@given(st.text(alphabet="{}.$|() abN\"'`-ifrangewithelsd:=,jo0", max_size=40))
def test_no_template_crashes(template):
    try:
        assert isinstance(render(template, DATA), str)
    except InvalidArgument:
        pass
