// Package pipeline contains no code: its folders are the stages that a message
// passes, and its tests send whole messages through all of them.
//
//	receive ---> intake ---> commit ---> queue ---> deliver ---> mailboxes, next hops
//	                ^                                  |
//	                '------- DSNs, forwards, forks ----'
//
// Messages do not pass events, policyrun and operate: events runs policies after
// something happened, policyrun runs them at a time or on a request, and operate
// is for operators.
package pipeline
