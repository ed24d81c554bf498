package generations

// Suspect returns why the generation in force is about to be given up.
func (k *Manager) Suspect() string {
	if p := k.probation.Load(); p != nil && p.reason.Load() != nil {
		return *p.reason.Load()
	}
	return ""
}
