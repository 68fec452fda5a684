package predict

// Mistakes are the rules that tests break, by name.
var Mistakes = map[string]mistake{
	"sign of adj": adjSign, "division order": divisionLast, "missing page tables": noPageTables,
	"tie rule": tieRule, "group inheritance": groupNotInherited,
}

// With breaks a rule.
func (r Rules) With(m mistake) Rules {
	r.mistake = m
	return r
}
