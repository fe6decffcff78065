//! What shells and `man` know of the command line, made from the same definitions that parse it.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::Shell;
use vrouter_cli::ManOptions;

use crate::args::Cli;
use crate::calico::kinds;
use crate::failure::Failure;
use crate::output::Output;

/// A script that completes words.
pub(crate) fn completion<W: Write>(out: &mut Output<W>, shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "vrouterctl", &mut script);
    out.text(&String::from_utf8_lossy(&script))?;
    // Its generator offers no values of positions.
    let all: Vec<&str> = kinds::offered().collect();
    let fish = NAMES_IN_FISH.replace("KINDS", &all.join(" "));
    out.text(match shell {
        Shell::Bash => NAMES_IN_BASH,
        Shell::Zsh => NAMES_IN_ZSH,
        Shell::Fish => &fish,
        _ => "",
    })
}

/// What the shells do where the name of a resource stands: the words after `get KIND` and the like
/// are asked of the datastore.
const NAMES_IN_BASH: &str = r#"
_vrouterctl_names() {
    local verb="${COMP_WORDS[1]}" kind="${COMP_WORDS[2]}" word="${COMP_WORDS[COMP_CWORD]}"
    case "$verb" in
        get|delete|patch|label)
            if [[ $COMP_CWORD -ge 3 && "$word" != -* && "$kind" != -* ]]; then
                COMPREPLY=( $(compgen -W "$(vrouterctl names "$kind" 2>/dev/null)" -- "$word") )
                return 0
            fi ;;
    esac
    _vrouterctl "$@"
}
complete -F _vrouterctl_names -o nosort -o bashdefault -o default vrouterctl
"#;
const NAMES_IN_ZSH: &str = r#"
_vrouterctl_names() {
    case "${words[2]}" in
        get|delete|patch|label)
            if (( CURRENT >= 4 )) && [[ "${words[CURRENT]}" != -* && "${words[3]}" != -* ]]; then
                compadd -- ${(f)"$(vrouterctl names "${words[3]}" 2>/dev/null)"}
                return 0
            fi ;;
    esac
    _vrouterctl "$@"
}
compdef _vrouterctl_names vrouterctl
"#;
const NAMES_IN_FISH: &str = r#"
function __vrouterctl_names
    set -l words (commandline -opc)
    if contains -- $words[2] get delete patch label
        if test (count $words) -eq 2
            printf '%s\n' KINDS
        else
            vrouterctl names $words[3] 2>/dev/null
        end
    end
end
complete -c vrouterctl -f -a "(__vrouterctl_names)"
"#;

/// All pages into a directory, or the first page.
pub(crate) fn pages<W: Write>(out: &mut Output<W>, options: &ManOptions) -> Result<(), Failure> {
    let mut page = Vec::new();
    options.write(Cli::command(), &mut page)?;
    out.text(&String::from_utf8_lossy(&page))
}
