package cli

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	ucli "github.com/urfave/cli/v2"
)

// confirm asks whether something large is meant, where --yes has not said so and a terminal can answer.
func (p *program) confirm(c *ucli.Context, what string) error {
	if c.Bool("yes") {
		return nil
	}
	in, ok := p.In.(*os.File)
	if !ok || !terminal(in) || !terminal(p.Err) {
		return usagef("%s would %s: %v", c.Command.Name, what, errNeedYes)
	}
	fmt.Fprintf(p.Err, "strunk: %s? [y/N] ", what)
	answer, _ := bufio.NewReader(in).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return usagef("%s: nothing was done", c.Command.Name)
}
